use std::{convert::Infallible, io};

use futures_util::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn read(pieces: Vec<Vec<u8>>) -> Vec<Result<String, SseError>> {
    let chunks = stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
    openai_deltas(chunks).collect::<Vec<_>>().now_or_never().unwrap()
}

fn text(items: &[Result<String, SseError>]) -> String {
    items.iter().filter_map(|item| item.as_ref().ok()).map(String::as_str).collect()
}

fn one(body: &str) -> Vec<Result<String, SseError>> {
    read(vec![body.as_bytes().to_vec()])
}

fn chunk(content: &str) -> String {
    json!({"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": content}}]})
        .to_string()
}

#[test]
fn comments_roles_figures_and_other_choices_are_no_text() {
    let body = format!(
        ": keep-alive\r\n\r\nid: 1\r\nevent: message\r\ndata: {}\r\n\r\n: more\r\ndata: {}\r\n\r\ndata: {}\r\n\r\n\
         data: {}\r\n\r\ndata: {}\r\n\r\ndata: [DONE]\r\n\r\ndata: {}\r\n\r\n",
        json!({"choices": [{"index": 0, "delta": {"role": "assistant", "content": null}}]}),
        chunk("Hel"),
        json!({"choices": [{"index": 1, "delta": {"content": "other"}}]}),
        chunk("lo"),
        json!({"choices": [], "usage": {"total_tokens": 3}}),
        chunk("behind the end"),
    );
    let items = one(&body);
    assert!(items.iter().all(Result::is_ok), "{items:?}");
    assert_eq!((text(&items).as_str(), items.len()), ("Hello", 2));
}

#[test]
fn data_of_several_lines_is_one_event() {
    let items = one("data: {\"choices\":\ndata: [{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n");
    assert_eq!(text(&items), "x");
    assert_eq!(items.len(), 1);
}

#[test]
fn whoever_stops_without_a_word_broke_off() {
    let whole = json!({"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}]});
    assert_eq!(text(&one(&format!("data: {whole}\n\n"))), "x", "the reason is the word");
    let items = one(&format!("data: {}\n\n", chunk("x")));
    assert_eq!((text(&items).as_str(), items.len()), ("x", 2));
    assert!(matches!(items.last(), Some(Err(SseError::Incomplete))), "{items:?}");
    assert!(matches!(one("").as_slice(), [Err(SseError::Incomplete)]));
}

#[test]
fn every_failure_is_the_last_item() {
    let good = chunk("x");
    let last = |body: String| {
        let items = one(&body);
        assert_eq!((text(&items).as_str(), items.len()), ("x", 2), "{items:?}");
        items.into_iter().last().unwrap().unwrap_err()
    };
    let error =
        last(format!("data: {good}\n\ndata: {{\"error\":{{\"message\":\"quota\"}}}}\n\ndata: [DONE]\n\n"));
    assert!(matches!(&error, SseError::Model(why) if why == "quota"), "{error:?}");
    let error = last(format!("data: {good}\n\nevent: error\ndata: overloaded\n\n"));
    assert!(matches!(&error, SseError::Model(why) if why == "overloaded"), "{error:?}");
    let error = last(format!("data: {good}\n\ndata: not json\n\ndata: {good}\n\n"));
    assert!(matches!(error, SseError::NotAChunk(_)), "{error:?}");
    let invalid = [format!("data: {good}\n\ndata: ").into_bytes(), vec![0xff, 0xfe, b'\n', b'\n']].concat();
    assert!(matches!(read(vec![invalid]).last(), Some(Err(SseError::NotEvents(_)))));
    let failing = stream::iter([Ok(format!("data: {good}\n\n")), Err(io::Error::other("reset"))]);
    let items = openai_deltas(failing).collect::<Vec<_>>().now_or_never().unwrap();
    assert!(matches!(items.as_slice(), [Ok(_), Err(SseError::Source(_))]), "{items:?}");
}

#[test]
fn an_event_without_end_is_bounded() {
    let pieces = (0..2_000).map(|_| b"data: xxxxxxxxxxxxxxxxxxxx\n".repeat(32)).collect();
    assert!(matches!(read(pieces).as_slice(), [Err(SseError::TooLarge)]));
    // Many events of usual size are more than that together, and fine.
    let event = format!("data: {}\n\n", chunk(&"y".repeat(1_000)));
    let pieces =
        (0..2_000).map(|_| event.clone().into_bytes()).chain([b"data: [DONE]\n\n".to_vec()]).collect();
    let items = read(pieces);
    assert_eq!((items.len(), text(&items).len()), (2_000, 2_000_000));
}

proptest! {
    /// Wherever the body is cut, in the middle of characters and line ends, too, the text is the same.
    #[test]
    fn pieces_make_no_difference(
        contents in proptest::collection::vec("[a-zé😀\"\\\n]{1,8}", 0..8),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..12),
        end in proptest::sample::select(vec!["\n", "\r\n"]),
    ) {
        let mut body = format!(": hello{end}{end}");
        for content in &contents {
            body += &format!("data: {}{end}{end}", chunk(content));
        }
        body += &format!("data: [DONE]{end}{end}");
        let bytes = body.into_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).chain([0, bytes.len()]).collect();
        at.sort_unstable();
        let pieces = at.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect();
        let items = read(pieces);
        prop_assert!(items.iter().all(Result::is_ok), "{:?}", items);
        prop_assert_eq!(text(&items), contents.concat());
        prop_assert_eq!(items.len(), contents.len());
    }
}
