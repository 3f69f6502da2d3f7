//! `registry.blob_head`, `registry.blob_read`, `registry.blob_list`, `registry.blob_delete`, `registry.blob_share`: files
//! that are there.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::blob::frame;
use agentnet_proto::rpc::{
    BlobDeleteResponse, BlobListRequest, BlobListResponse, BlobReadRequest, BlobReadResponse, BlobRequest,
    BlobResponse, BlobShareRequest, clamp_limit,
};
use agentnet_proto::subject::AccountId;
use agentnet_proto::{ErrorCode, RpcError};
use agentnet_service::rpc::decode_object;
use agentnet_store::access::Reader;
use agentnet_store::blobs::{self as rows, Shared};
use bytes::Bytes;

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::blobs;
use crate::caller::Call;
use crate::validate;

/// Longest work on a chunk.
const READ_DEADLINE: Duration = Duration::from_secs(4);

pub(super) async fn head(app: Arc<App>, call: Call, request: BlobRequest) -> Result<BlobResponse, RpcError> {
    validate::query("blob_id", &request.blob_id)?;
    let work = blobs::readable(&app, &call.caller, &request.blob_id);
    let known = app.within("db.blob_head", QUERY_DEADLINE, ErrorCode::BlobFailed, work).await?;
    Ok(BlobResponse { blob: blobs::info(known.blob.clone()) })
}

pub(super) async fn read(app: Arc<App>, call: Call, body: Bytes) -> Result<Bytes, RpcError> {
    let request: BlobReadRequest =
        decode_object(&body).map_err(|fault| super::faults(super::RpcMethod::BlobRead.as_str(), fault))?;
    validate::query("blob_id", &request.blob_id)?;
    let work = async {
        let known = blobs::readable(&app, &call.caller, &request.blob_id).await?;
        let data = blobs::read(&app, &known, request.offset, request.length).await?;
        Ok((known.blob.size_bytes, data))
    };
    let (size_bytes, data) = app.within("blobs.read", READ_DEADLINE, ErrorCode::BlobFailed, work).await?;
    let head = BlobReadResponse { blob_id: request.blob_id, offset: request.offset, size_bytes };
    frame(&head, &data).map(Bytes::from).map_err(|_| ErrorCode::Internal.into())
}

pub(super) async fn list(
    app: Arc<App>,
    call: Call,
    request: BlobListRequest,
) -> Result<BlobListResponse, RpcError> {
    validate::queries(&[("account_id", &request.account_id), ("cursor", &request.cursor)])?;
    let limit = clamp_limit(request.limit, 50, 200);
    let work = async {
        let reader = access::reader(&app, &call.caller).await?;
        let caller = call.caller.account().map(AccountId::as_str);
        let account = request
            .account_id
            .as_deref()
            .or(caller)
            .ok_or_else(|| RpcError::from(ErrorCode::AccountIdRequired))?;
        if reader != Reader::Everything && caller != Some(account) {
            let detail = "whose files are whose is for their owner and operators to know";
            return Err(RpcError::with_detail(ErrorCode::Forbidden, detail).into());
        }
        let page = rows::page(app.store.pool(), account, request.cursor.as_deref(), limit).await?;
        Ok((page, rows::used(app.store.pool(), account).await?))
    };
    let (page, used) = app.within("db.blob_list", QUERY_DEADLINE, ErrorCode::BlobFailed, work).await?;
    let full = page.len() as i64 == limit;
    let next_cursor = page.last().filter(|_| full).map(|blob| blob.blob_id.clone());
    Ok(BlobListResponse {
        // 200 rows of 4 KiB metadata at most fit an answer of 1 MiB.
        blobs: page.into_iter().map(blobs::info).collect(),
        next_cursor,
        used_bytes: used.bytes,
        quota_bytes: app.config.blobs.quota_bytes,
    })
}

pub(super) async fn delete(
    app: Arc<App>,
    call: Call,
    request: BlobRequest,
) -> Result<BlobDeleteResponse, RpcError> {
    validate::query("blob_id", &request.blob_id)?;
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        if let Some(upload) = rows::resume(app.store.pool(), &request.blob_id, account.as_str()).await? {
            return Ok(rows::abandon(app.store.pool(), &upload.upload_id).await?);
        }
        let Some((blob, _)) = rows::find(app.store.pool(), &request.blob_id).await? else { return Ok(false) };
        if blob.account_id != account.as_str() && !access::is_operator(&app, &account).await? {
            let detail = "only its owner and operators may delete a blob";
            return Err(RpcError::with_detail(ErrorCode::BlobForbidden, detail).into());
        }
        Ok(rows::delete(app.store.pool(), &request.blob_id).await?)
    };
    let deleted = app.within("db.blob_delete", QUERY_DEADLINE, ErrorCode::BlobFailed, work).await?;
    app.blobs.forget(&request.blob_id).await;
    Ok(BlobDeleteResponse { deleted })
}

pub(super) async fn share(
    app: Arc<App>,
    call: Call,
    request: BlobShareRequest,
) -> Result<BlobResponse, RpcError> {
    validate::queries(&[
        ("blob_id", &Some(request.blob_id.clone())),
        ("message_id", &Some(request.message_id.clone())),
    ])?;
    if request.message_id.is_empty() {
        return Err(RpcError::with_detail(ErrorCode::InvalidField, "message_id is required"));
    }
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        // Asked anew: what is remembered may be seconds old, and leave given on is given for as long as the message lives.
        let reader = access::reader(&app, &call.caller).await?;
        let (blob, _) = rows::find(app.store.pool(), &request.blob_id)
            .await?
            .ok_or_else(|| RpcError::from(ErrorCode::BlobGone))?;
        if !rows::may_read(app.store.pool(), &reader, &blob.blob_id, &blob.account_id).await? {
            return Err(RpcError::from(ErrorCode::BlobForbidden).into());
        }
        let shared =
            rows::share(app.store.pool(), &request.blob_id, &request.message_id, account.as_str()).await?;
        match shared {
            Shared::Yes => Ok(blob),
            Shared::Gone => Err(Failed::from(RpcError::from(ErrorCode::BlobGone))),
            Shared::TooManyWaiting => {
                let detail = "10000 messages that were to refer to blobs never came; send those first";
                Err(RpcError::with_detail(ErrorCode::BlobQuotaFull, detail).into())
            }
            Shared::TooOften => {
                let detail = "the account refers to this blob in 1024 messages already";
                Err(RpcError::with_detail(ErrorCode::BlobQuotaFull, detail).into())
            }
        }
    };
    let blob = app.within("db.blob_share", QUERY_DEADLINE, ErrorCode::BlobFailed, work).await?;
    Ok(BlobResponse { blob: blobs::info(blob) })
}
