//! `registry.data_put`, `.data_get`, `.data_list` and `.data_delete`: JSON documents that accounts keep.

use std::sync::Arc;

use agentnet_proto::cursor::TextCursor;
use agentnet_proto::rpc::{
    DataDeleteRequest, DataDeleteResponse, DataGetRequest, DataGetResponse, DataListRequest,
    DataListResponse, DataPutRequest, DataPutResponse, Document, MAX_DOCUMENT_BYTES, MAX_DOCUMENT_KEY,
    MAX_DOCUMENTS, clamp_limit,
};
use agentnet_proto::{ErrorCode, Payload, RpcError};
use agentnet_store::StoreError;
use agentnet_store::documents::{self, DocumentFilter};

use super::fit::page;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::caller::Call;
use crate::{access, validate};

pub(super) async fn put(
    app: Arc<App>,
    call: Call,
    request: DataPutRequest,
) -> Result<DataPutResponse, RpcError> {
    key(&request.key)?;
    let Some(value) = &request.value else {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "value is required: any JSON value"));
    };
    let bytes = value.get().len();
    if bytes > MAX_DOCUMENT_BYTES {
        let detail = format!("a document has at most {MAX_DOCUMENT_BYTES} bytes; this one has {bytes}");
        return Err(RpcError::with_detail(ErrorCode::PayloadTooLarge, detail));
    }
    let failed = StoreError::query("agent_documents.transaction");
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let mut tx = app.store.pool().begin().await.map_err(&failed)?;
        let (owner, public) = (account.as_str(), request.public);
        let put = documents::put(&mut tx, owner, &request.key, value.get(), public, app.now()).await?;
        let Some(put) = put else {
            let detail = format!("an account has at most {MAX_DOCUMENTS} documents; delete some first");
            return Err(RpcError::with_detail(ErrorCode::LimitReached, detail).into());
        };
        tx.commit().await.map_err(&failed)?;
        Ok(put)
    };
    let put = app.within("db.data_put", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(DataPutResponse { document: row(put), generated_at: app.now().to_string() })
}

pub(super) async fn get(
    app: Arc<App>,
    call: Call,
    request: DataGetRequest,
) -> Result<DataGetResponse, RpcError> {
    key(&request.key)?;
    let work = async {
        let (owner, is_own) =
            whose(&app, &call, request.account_id.as_deref(), request.owner.as_deref()).await?;
        let filter = DocumentFilter {
            owner: Some(&owner),
            key: Some(&request.key),
            private: is_own,
            values: true,
            most_bytes: i64::MAX,
            limit: 1,
            ..DocumentFilter::default()
        };
        documents::list(app.store.pool(), &filter).await?.pop().ok_or(Failed::NotFound)
    };
    let found = app.within("db.data_get", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(DataGetResponse { document: row(found), generated_at: app.now().to_string() })
}

pub(super) async fn list(
    app: Arc<App>,
    call: Call,
    request: DataListRequest,
) -> Result<DataListResponse, RpcError> {
    validate::queries(&[("prefix", &request.prefix)])?;
    if request.all && request.prefix.is_some() {
        let detail = "prefix is for the documents of one account; leave it out with all";
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    let limit = clamp_limit(request.limit, 50, 200);
    let after = request.cursor.as_deref().and_then(TextCursor::decode);
    let work = async {
        let (owner, is_own) = if request.all {
            (None, false)
        } else {
            let (owner, is_own) =
                whose(&app, &call, request.account_id.as_deref(), request.owner.as_deref()).await?;
            (Some(owner), is_own)
        };
        let filter = DocumentFilter {
            owner: owner.as_deref(),
            prefix: request.prefix.as_deref(),
            private: is_own,
            values: request.values,
            most_bytes: i64::try_from(app.row_budget().max(2 * MAX_DOCUMENT_BYTES)).unwrap_or(i64::MAX),
            after: after.as_ref().map(|TextCursor([account, key])| (account.as_str(), key.as_str())),
            limit: limit + 1,
            ..DocumentFilter::default()
        };
        Ok(documents::list(app.store.pool(), &filter).await?)
    };
    let found = app.within("db.data_list", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    let cursor = |last: &Document| TextCursor([last.account_id.clone(), last.key.clone()]).encode();
    let rows = found.into_iter().map(row).collect();
    let (documents, next_cursor) = page(rows, limit, app.row_budget(), cursor);
    Ok(DataListResponse { documents, next_cursor, generated_at: app.now().to_string() })
}

pub(super) async fn delete(
    app: Arc<App>,
    call: Call,
    request: DataDeleteRequest,
) -> Result<DataDeleteResponse, RpcError> {
    key(&request.key)?;
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        Ok(documents::delete(app.store.pool(), account.as_str(), &request.key).await?)
    };
    let deleted = app.within("db.data_delete", QUERY_DEADLINE, ErrorCode::AccountFailed, work).await?;
    Ok(DataDeleteResponse { key: request.key, deleted, generated_at: app.now().to_string() })
}

fn key(text: &str) -> Result<(), RpcError> {
    super::required(text, ErrorCode::InvalidField)?;
    validate::name("key", text, MAX_DOCUMENT_KEY)
}

/// Whose documents are meant, and whether they are the asking account's own: it alone sees private ones.
async fn whose(
    app: &App,
    call: &Call,
    claimed: Option<&str>,
    owner: Option<&str>,
) -> Result<(String, bool), Failed> {
    let Some(owner) = owner else { return Ok((access::owner(app, call, claimed)?.to_string(), true)) };
    let owner = access::named(app, "owner", owner).await?;
    let asker = access::asker(app, call, claimed)?;
    let is_own = asker.as_ref() == Some(&owner);
    Ok((owner.to_string(), is_own))
}

fn row(document: documents::Document) -> Document {
    Document {
        account_id: document.account_id,
        key: document.key,
        // Written by `put`, so it is JSON.
        value: document.value.and_then(|text| Payload::from_text(text).ok()),
        public: document.public,
        bytes: document.bytes,
        created_at: document.created_at.to_string(),
        updated_at: document.updated_at.to_string(),
    }
}
