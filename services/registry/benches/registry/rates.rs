//! RPCs answered from memory beside bare request/reply, interleaved, median of five rounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use async_nats::Client;
use futures_util::StreamExt;
use serde_json::json;

use crate::{call, connect, in_thread};

const ROUNDS: usize = 5;

pub(crate) async fn compare(client: &Client, url: &str, requests: usize) {
    let answer = call(client, "register", &json!({"agent_id": "bench", "capabilities": ["math"]})).await;
    let account = answer["account_id"].as_str().unwrap().to_owned();
    let url = url.to_owned();
    in_thread(move || async move {
        let client = connect(&url).await;
        let mut subscription = client.queue_subscribe("bare.echo", "bare".to_owned()).await.unwrap();
        // As long as resolve_account's answer.
        let body = bytes::Bytes::from(vec![b'x'; 130]);
        while let Some(message) = subscription.next().await {
            client.publish(message.reply.unwrap(), body.clone()).await.unwrap();
        }
    });
    while client.request("bare.echo", "".into()).await.is_err() {}
    let cases = [
        ("bare request/reply", "bare.echo", json!({"username": "bench"})),
        ("resolve_account", "registry.resolve_account", json!({"username": "bench"})),
        ("profile", "registry.profile", json!({"account_id": account})),
        ("list, 1 session", "registry.list", json!({})),
    ];
    println!(
        "\n{:<20} {:>14} {:>8} {:>14} {:>8}   goal: 0.8 of bare",
        "rpc", "16 in flight", "ratio", "256", "ratio"
    );
    let mut medians = vec![Vec::new(); cases.len()];
    for in_flight in [16, 256] {
        let mut rates = vec![Vec::new(); cases.len()];
        for _ in 0..ROUNDS {
            for (rates, (_, subject, body)) in rates.iter_mut().zip(&cases) {
                rates.push(rate(client, subject, &body.to_string(), in_flight, requests).await);
            }
        }
        for (medians, mut rates) in medians.iter_mut().zip(rates) {
            rates.sort_by(f64::total_cmp);
            medians.push(rates[ROUNDS / 2]);
        }
    }
    for (medians_of, (name, ..)) in medians.iter().zip(&cases) {
        let ratio = |n: usize| medians_of[n] / medians[0][n];
        println!(
            "{name:<20} {:>12.0}/s {:>8.2} {:>12.0}/s {:>8.2}",
            medians_of[0],
            ratio(0),
            medians_of[1],
            ratio(1)
        );
    }
}

/// Requests answered per second with so many in flight.
async fn rate(client: &Client, subject: &str, body: &str, in_flight: usize, requests: usize) -> f64 {
    let left = Arc::new(AtomicUsize::new(requests));
    let started = Instant::now();
    let workers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (client, left) = (client.clone(), left.clone());
            let (subject, body) = (subject.to_owned(), bytes::Bytes::from(body.to_owned()));
            tokio::spawn(async move {
                while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                    let answer = client.request(subject.clone(), body.clone()).await.unwrap();
                    assert!(!answer.payload.starts_with(b"{\"error"));
                }
            })
        })
        .collect();
    for worker in workers {
        worker.await.unwrap();
    }
    requests as f64 / started.elapsed().as_secs_f64()
}
