//! Files that come with a question.

use std::time::Duration;

use agentnet_proto::{BlobRef, rpc::BlobInfo};
use serde_json::{Map, Value, json};

use crate::{
    blobs::{BlobSource, Blobs},
    error::{Error, ErrorKind},
};

/// Where the references stand in the content.
pub(super) const FIELD: &str = "files";
/// How long the network keeps them.
pub(super) const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// A file to send with a question: its name, and its content as bytes, a path, or a reader. Nothing is held in memory that
/// isn't there already.
#[derive(Debug)]
pub struct P2pFile<'a> {
    filename: String,
    source: BlobSource<'a>,
}

impl<'a> P2pFile<'a> {
    /// A file of that name.
    pub fn new(filename: impl Into<String>, source: impl Into<BlobSource<'a>>) -> Self {
        Self { filename: filename.into(), source: source.into() }
    }

    pub(super) async fn put(self, blobs: &Blobs) -> Result<BlobInfo, Error> {
        blobs.put(self.source).name(self.filename).expires_in(KEPT).await
    }
}

/// The content with references to its files, by name; several of one name are a list.
pub(super) fn add(content: Value, blobs: Vec<(String, BlobInfo)>) -> Result<Value, Error> {
    if blobs.is_empty() {
        return Ok(content);
    }
    let Value::Object(mut content) = content else {
        return Err(Error::new(ErrorKind::InvalidArgument, "files come beside an object only"));
    };
    let mut files = Map::new();
    for (name, blob) in blobs {
        let reference = json!(BlobRef::from(blob));
        match files.get_mut(&name) {
            None => drop(files.insert(name, reference)),
            Some(Value::Array(list)) => list.push(reference),
            Some(one) => *one = json!([one.take(), reference]),
        }
    }
    if content.insert(FIELD.to_owned(), Value::Object(files)).is_some() {
        return Err(Error::new(ErrorKind::InvalidArgument, "the content has `files` of its own already"));
    }
    Ok(Value::Object(content))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(id: &str) -> BlobInfo {
        let info = json!({"blob_id": id, "account_id": "a", "mime_type": "x/y", "size_bytes": 1, "sha256": "",
            "created_at": "", "chunk_size": 1});
        serde_json::from_value(info).unwrap()
    }

    #[test]
    fn references_stand_by_name() {
        let blobs = ["a", "b", "b"].iter().zip(["1", "2", "3"]);
        let blobs = blobs.map(|(name, id)| ((*name).to_owned(), blob(id))).collect();
        let content = add(json!({"meta": "image"}), blobs).unwrap();
        assert_eq!(content["meta"], "image");
        assert_eq!(content["files"]["a"]["blob_id"], "1");
        assert_eq!(content["files"]["b"][1]["blob_id"], "3");
        assert_eq!(add(json!(3), Vec::new()).unwrap(), 3);
        assert!(add(json!(3), vec![("a".into(), blob("1"))]).is_err());
        assert!(add(json!({"files": 1}), vec![("a".into(), blob("1"))]).is_err());
    }
}
