//! `registry.blob_begin`, `registry.blob_write`, `registry.blob_commit`: a file comes into the object store.

use std::sync::Arc;
use std::time::Duration;

use agentnet_proto::blob::{
    DEFAULT_CONTENT_TYPE, MAX_BLOB_METADATA, check_content_type, check_file_name, unframe,
};
use agentnet_proto::rpc::{
    BlobBeginRequest, BlobBeginResponse, BlobCommitRequest, BlobResponse, BlobWriteRequest, BlobWriteResponse,
};
use agentnet_proto::{ErrorCode, RpcError, Security};
use agentnet_service::rpc::encode_response;
use agentnet_store::StoreError;
use agentnet_store::blobs::{self as rows, Begun, NewUpload};
use bytes::Bytes;

use crate::access;
use crate::app::{App, Failed, QUERY_DEADLINE};
use crate::blobs;
use crate::caller::{Call, Caller};
use crate::validate;

/// Longest work of a begin: an upload that this replica doesn't know is read back.
const BEGIN_DEADLINE: Duration = Duration::from_secs(4);

pub(super) async fn begin(
    app: Arc<App>,
    call: Call,
    request: BlobBeginRequest,
) -> Result<BlobBeginResponse, RpcError> {
    let mime_type = request.mime_type.as_deref().unwrap_or(DEFAULT_CONTENT_TYPE).to_ascii_lowercase();
    let sha256 = request.sha256.as_deref().map(blobs::digest).transpose()?;
    check(&app, &request, &mime_type)?;
    let retention = app.config.blobs.retention.as_secs();
    let keep_seconds = request.expires_in_seconds.unwrap_or(retention).clamp(1, retention);
    let work = async {
        let account = access::actor(&app, &call, request.account_id.as_deref()).await?;
        let upload = match &request.upload_id {
            Some(upload_id) => match rows::resume(app.store.pool(), upload_id, account.as_str()).await? {
                Some(upload) => upload,
                None => return finished(&app, upload_id, account.as_str()).await,
            },
            None => {
                let (upload_id, nuid) = (format!("upload_{}", app.ids.ulid_lower()), app.ids.ulid_lower());
                let blob_id = format!("blob_{}", app.ids.ulid_lower());
                let new = NewUpload {
                    upload_id: &upload_id,
                    blob_id: &blob_id,
                    nuid: &nuid,
                    account_id: account.as_str(),
                    filename: &request.filename,
                    mime_type: &mime_type,
                    size_bytes: request.size_bytes,
                    sha256: sha256.as_deref(),
                    chunk_size: blobs::chunk_size(&app),
                    metadata: &request.metadata,
                    keep_seconds,
                };
                let mut begun = begin_row(&app, &new).await?;
                if let Begun::Exists(blob) = &begun
                    && blobs::is_lost(&app, &blob.blob_id).await?
                {
                    // Said to be there, it would never be put again.
                    rows::delete(app.store.pool(), &blob.blob_id).await?;
                    app.blobs.forget(&blob.blob_id).await;
                    begun = begin_row(&app, &new).await?;
                }
                match begun {
                    Begun::Upload(upload) => *upload,
                    Begun::Exists(blob) => return Ok(there(&app, *blob)),
                    Begun::Full(used) => return Err(blobs::quota_full(&app, &used).into()),
                }
            }
        };
        let (upload_id, chunk_size) = (upload.upload_id.clone(), upload.chunk_size);
        let position = blobs::open(&app, upload).await.position(&app).await?;
        Ok(BlobBeginResponse { upload_id, position, chunk_size, window: blobs::WINDOW, blob: None })
    };
    app.within("db.blob_begin", BEGIN_DEADLINE, ErrorCode::BlobFailed, work).await
}

async fn begin_row(app: &App, new: &NewUpload<'_>) -> Result<Begun, Failed> {
    let failed = StoreError::query("agent_blob_uploads.begin");
    let mut tx = app.store.pool().begin().await.map_err(&failed)?;
    let begun = rows::begin(&mut tx, new, &app.config.blobs.limits()).await?;
    tx.commit().await.map_err(&failed)?;
    Ok(begun)
}

/// What an upload became that isn't there any more.
async fn finished(app: &App, upload_id: &str, account_id: &str) -> Result<BlobBeginResponse, Failed> {
    match rows::of_upload(app.store.pool(), upload_id, account_id).await? {
        Some(blob) => Ok(there(app, blob)),
        None => Err(RpcError::from(ErrorCode::BlobUploadUnknown).into()),
    }
}

fn there(app: &App, blob: rows::Blob) -> BlobBeginResponse {
    BlobBeginResponse {
        upload_id: String::new(),
        position: blob.size_bytes,
        chunk_size: blobs::chunk_size(app),
        window: blobs::WINDOW,
        blob: Some(blobs::info(blob)),
    }
}

fn check(app: &App, request: &BlobBeginRequest, mime_type: &str) -> Result<(), RpcError> {
    if !request.filename.is_empty() {
        check_file_name(&request.filename)?;
    }
    check_content_type(mime_type)?;
    validate::told(&[], &request.metadata)?;
    if serde_json::to_vec(&request.metadata).map_or(usize::MAX, |json| json.len()) > MAX_BLOB_METADATA {
        let detail = format!("metadata is larger than {MAX_BLOB_METADATA} bytes");
        return Err(RpcError::with_detail(ErrorCode::InvalidField, detail));
    }
    if request.size_bytes.is_some_and(|size| size > app.config.blobs.max_bytes) {
        return Err(blobs::too_large(app));
    }
    validate::queries(&[("upload_id", &request.upload_id)])
}

/// A chunk. It carries no nonce: sent twice, it changes nothing the second time.
pub(super) async fn write(app: Arc<App>, call: Call, body: Bytes) -> Result<Bytes, RpcError> {
    let (request, data): (BlobWriteRequest, &[u8]) = unframe(&body).map_err(|_| {
        RpcError::with_detail(
            ErrorCode::InvalidJson,
            "the first line must be a JSON object, the chunk follows",
        )
    })?;
    let data = body.slice_ref(data);
    validate::query("upload_id", &request.upload_id)?;
    if app.config.security != Security::Open && !matches!(call.caller, Caller::Account(_)) {
        let detail = "this request must be signed with the key of the account that asks";
        return Err(RpcError::with_detail(ErrorCode::AuthRequired, detail));
    }
    let work = async {
        let writing = blobs::writing(&app, &request.upload_id).await?;
        writing.check_owner(call.caller.account())?;
        writing.write(&app, request.offset, &data).await
    };
    let position = app.within("blobs.write", blobs::WRITE_DEADLINE, ErrorCode::BlobFailed, work).await?;
    let answer = BlobWriteResponse { upload_id: request.upload_id, position };
    encode_response(&answer).map_err(|_| ErrorCode::Internal.into())
}

pub(super) async fn commit(
    app: Arc<App>,
    call: Call,
    request: BlobCommitRequest,
) -> Result<BlobResponse, RpcError> {
    let sha256 = blobs::digest(&request.sha256)?;
    validate::query("upload_id", &request.upload_id)?;
    let actor = access::actor(&app, &call, request.account_id.as_deref());
    let account = app.within("db.blob_commit", QUERY_DEADLINE, ErrorCode::BlobFailed, actor).await?;
    let work = blobs::commit(&app, &account, &request.upload_id, request.size_bytes, &sha256);
    let blob = app.within("blobs.commit", blobs::COMMIT_DEADLINE, ErrorCode::BlobFailed, work).await?;
    Ok(BlobResponse { blob: blobs::info(blob) })
}
