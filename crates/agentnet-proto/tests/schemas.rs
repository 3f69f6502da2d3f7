//! `docs/schema/` holds the JSON Schemas of the wire types, `docs/ERRORS.md` the error codes; this fails when they are
//! stale.
//!
//! `UPDATE_SCHEMAS=1 cargo test -p agentnet-proto --test schemas` writes them anew.

use std::{collections::BTreeSet, fs, path::PathBuf};

use agentnet_proto::{
    AccountEvent, Block, Envelope, ErrorCode, Receipt, RpcError, StoredNotice, StreamFrame, rpc,
};
use schemars::{JsonSchema, schema_for};
use serde_json::{Value, json};

fn schema<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

fn all() -> Vec<(&'static str, Value)> {
    vec![
        ("envelope", schema::<Envelope>()),
        ("block", schema::<Block>()),
        ("stream_frame", schema::<StreamFrame>()),
        ("receipt", schema::<Receipt>()),
        ("stored_notice", schema::<StoredNotice>()),
        ("rpc_error", schema::<RpcError>()),
        ("account_event", schema::<AccountEvent>()),
        ("agent_info", schema::<rpc::AgentInfo>()),
        ("register_request", schema::<rpc::RegisterRequest>()),
        ("register_response", schema::<rpc::RegisterResponse>()),
        ("goodbye", schema::<rpc::Goodbye>()),
        ("network_request", schema::<rpc::NetworkRequest>()),
        ("network_response", schema::<rpc::NetworkResponse>()),
        ("list_request", schema::<rpc::ListRequest>()),
        ("list_response", schema::<rpc::ListResponse>()),
        ("search_request", schema::<rpc::SearchRequest>()),
        ("search_response", schema::<rpc::SearchResponse>()),
        ("profile_request", schema::<rpc::ProfileRequest>()),
        ("profile_response", schema::<rpc::ProfileResponse>()),
        ("resolve_account_request", schema::<rpc::ResolveAccountRequest>()),
        ("resolve_account_response", schema::<rpc::ResolveAccountResponse>()),
        ("resolve_key_request", schema::<rpc::ResolveKeyRequest>()),
        ("resolve_key_response", schema::<rpc::ResolveKeyResponse>()),
        ("thread_list_request", schema::<rpc::ThreadListRequest>()),
        ("thread_list_response", schema::<rpc::ThreadListResponse>()),
        ("thread_status_request", schema::<rpc::ThreadStatusRequest>()),
        ("thread_status_response", schema::<rpc::ThreadStatusResponse>()),
        ("thread_messages_request", schema::<rpc::ThreadMessagesRequest>()),
        ("thread_messages_response", schema::<rpc::ThreadMessagesResponse>()),
        ("message_search_request", schema::<rpc::MessageSearchRequest>()),
        ("message_search_response", schema::<rpc::MessageSearchResponse>()),
        ("deliveries_request", schema::<rpc::DeliveriesRequest>()),
        ("deliveries_response", schema::<rpc::DeliveriesResponse>()),
        ("redrive_request", schema::<rpc::RedriveRequest>()),
        ("redrive_response", schema::<rpc::RedriveResponse>()),
        ("why_request", schema::<rpc::WhyRequest>()),
        ("why_response", schema::<rpc::WhyResponse>()),
        ("thread_create_request", schema::<rpc::ThreadCreateRequest>()),
        ("thread_invite_request", schema::<rpc::ThreadInviteRequest>()),
        ("thread_join_request", schema::<rpc::ThreadJoinRequest>()),
        ("thread_eject_request", schema::<rpc::ThreadEjectRequest>()),
        ("thread_members_request", schema::<rpc::ThreadMembersRequest>()),
        ("thread_members_response", schema::<rpc::ThreadMembersResponse>()),
        ("thread_update_request", schema::<rpc::ThreadUpdateRequest>()),
        ("thread_role_request", schema::<rpc::ThreadRoleRequest>()),
        ("thread_read_request", schema::<rpc::ThreadReadRequest>()),
        ("thread_read_response", schema::<rpc::ThreadReadResponse>()),
        ("conversation_list_request", schema::<rpc::ConversationListRequest>()),
        ("conversation_list_response", schema::<rpc::ConversationListResponse>()),
        ("thread_event", schema::<rpc::ThreadEvent>()),
        ("standing_request", schema::<rpc::StandingRequest>()),
        ("standing_response", schema::<rpc::StandingResponse>()),
        ("operator_list_request", schema::<rpc::OperatorListRequest>()),
        ("operator_list_response", schema::<rpc::OperatorListResponse>()),
        ("profile_update_request", schema::<rpc::ProfileUpdateRequest>()),
        ("profile_update_response", schema::<rpc::ProfileUpdateResponse>()),
        ("online_request", schema::<rpc::OnlineRequest>()),
        ("online_response", schema::<rpc::OnlineResponse>()),
        ("peer_add_request", schema::<rpc::PeerAddRequest>()),
        ("peer_add_response", schema::<rpc::PeerAddResponse>()),
        ("peer_remove_request", schema::<rpc::PeerRemoveRequest>()),
        ("peer_remove_response", schema::<rpc::PeerRemoveResponse>()),
        ("peer_list_request", schema::<rpc::PeerListRequest>()),
        ("peer_list_response", schema::<rpc::PeerListResponse>()),
        ("block_request", schema::<rpc::BlockRequest>()),
        ("block_response", schema::<rpc::BlockResponse>()),
        ("block_list_request", schema::<rpc::BlockListRequest>()),
        ("block_list_response", schema::<rpc::BlockListResponse>()),
        ("block_event", schema::<rpc::BlockEvent>()),
        ("agent_register_request", schema::<rpc::AgentRegisterRequest>()),
        ("agent_register_response", schema::<rpc::AgentRegisterResponse>()),
        ("agent_discover_request", schema::<rpc::AgentDiscoverRequest>()),
        ("agent_discover_response", schema::<rpc::AgentDiscoverResponse>()),
        ("agent_show_request", schema::<rpc::AgentShowRequest>()),
        ("agent_show_response", schema::<rpc::AgentShowResponse>()),
        ("mail_fetch_request", schema::<rpc::MailFetchRequest>()),
        ("mail_fetch_response", schema::<rpc::MailFetchResponse>()),
        ("mail_ack_request", schema::<rpc::MailAckRequest>()),
        ("mail_ack_response", schema::<rpc::MailAckResponse>()),
        ("webhook_claim_request", schema::<rpc::WebhookClaimRequest>()),
        ("webhook_claim_response", schema::<rpc::WebhookClaimResponse>()),
        ("webhook_report_request", schema::<rpc::WebhookReportRequest>()),
        ("webhook_report_response", schema::<rpc::WebhookReportResponse>()),
        ("message_route_request", schema::<rpc::MessageRouteRequest>()),
        ("message_route_response", schema::<rpc::MessageRouteResponse>()),
        ("message_history_request", schema::<rpc::MessageHistoryRequest>()),
        ("message_history_response", schema::<rpc::MessageHistoryResponse>()),
        ("broadcast_open_request", schema::<rpc::BroadcastOpenRequest>()),
        ("broadcast_open_response", schema::<rpc::BroadcastOpenResponse>()),
        ("peer_graph_request", schema::<rpc::PeerGraphRequest>()),
        ("peer_graph_response", schema::<rpc::PeerGraphResponse>()),
        ("feed_request", schema::<rpc::FeedRequest>()),
        ("feed_response", schema::<rpc::FeedResponse>()),
        ("agent_stats_request", schema::<rpc::AgentStatsRequest>()),
        ("agent_stats_response", schema::<rpc::AgentStatsResponse>()),
        ("agent_report_request", schema::<rpc::AgentReportRequest>()),
        ("data_put_request", schema::<rpc::DataPutRequest>()),
        ("data_put_response", schema::<rpc::DataPutResponse>()),
        ("data_get_request", schema::<rpc::DataGetRequest>()),
        ("data_get_response", schema::<rpc::DataGetResponse>()),
        ("data_list_request", schema::<rpc::DataListRequest>()),
        ("data_list_response", schema::<rpc::DataListResponse>()),
        ("data_delete_request", schema::<rpc::DataDeleteRequest>()),
        ("data_delete_response", schema::<rpc::DataDeleteResponse>()),
        ("enrol_request", schema::<rpc::EnrolRequest>()),
        ("enrol_response", schema::<rpc::EnrolResponse>()),
        ("capability_restrict_request", schema::<rpc::CapabilityRestrictRequest>()),
        ("capability_grant_request", schema::<rpc::CapabilityGrantRequest>()),
        ("capability_list_request", schema::<rpc::CapabilityListRequest>()),
        ("capability_list_response", schema::<rpc::CapabilityListResponse>()),
        ("sub_system", schema::<agentnet_proto::SubSystem>()),
        ("blob_ref", schema::<agentnet_proto::blob::BlobRef>()),
        ("blob_begin_request", schema::<rpc::BlobBeginRequest>()),
        ("blob_begin_response", schema::<rpc::BlobBeginResponse>()),
        ("blob_write_request", schema::<rpc::BlobWriteRequest>()),
        ("blob_write_response", schema::<rpc::BlobWriteResponse>()),
        ("blob_commit_request", schema::<rpc::BlobCommitRequest>()),
        ("blob_response", schema::<rpc::BlobResponse>()),
        ("blob_request", schema::<rpc::BlobRequest>()),
        ("blob_read_request", schema::<rpc::BlobReadRequest>()),
        ("blob_read_response", schema::<rpc::BlobReadResponse>()),
        ("blob_list_request", schema::<rpc::BlobListRequest>()),
        ("blob_list_response", schema::<rpc::BlobListResponse>()),
        ("blob_delete_response", schema::<rpc::BlobDeleteResponse>()),
        ("blob_share_request", schema::<rpc::BlobShareRequest>()),
        ("evidence_request", schema::<rpc::EvidenceRequest>()),
        ("evidence_response", schema::<rpc::EvidenceResponse>()),
        ("rotate_request", schema::<rpc::RotateRequest>()),
        ("rotate_response", schema::<rpc::RotateResponse>()),
        ("revoke_request", schema::<rpc::RevokeRequest>()),
        ("revoke_response", schema::<rpc::RevokeResponse>()),
        ("user_create_request", schema::<rpc::UserCreateRequest>()),
        ("user_response", schema::<rpc::UserResponse>()),
        ("user_list_request", schema::<rpc::UserListRequest>()),
        ("user_list_response", schema::<rpc::UserListResponse>()),
        ("user_set_password_request", schema::<rpc::UserSetPasswordRequest>()),
        ("user_login_request", schema::<rpc::UserLoginRequest>()),
        ("login_response", schema::<rpc::LoginResponse>()),
        ("user_refresh_request", schema::<rpc::UserRefreshRequest>()),
        ("user_logout_request", schema::<rpc::UserLogoutRequest>()),
        ("user_logout_response", schema::<rpc::UserLogoutResponse>()),
        ("user_session_request", schema::<rpc::UserSessionRequest>()),
        ("user_session_response", schema::<rpc::UserSessionResponse>()),
        ("api_key_create_request", schema::<rpc::ApiKeyCreateRequest>()),
        ("api_key_create_response", schema::<rpc::ApiKeyCreateResponse>()),
        ("api_key_list_request", schema::<rpc::ApiKeyListRequest>()),
        ("api_key_list_response", schema::<rpc::ApiKeyListResponse>()),
        ("api_key_revoke_request", schema::<rpc::ApiKeyRevokeRequest>()),
        ("api_key_revoke_response", schema::<rpc::ApiKeyRevokeResponse>()),
        ("api_key_login_request", schema::<rpc::ApiKeyLoginRequest>()),
        ("ws_ticket_create_request", schema::<rpc::WsTicketCreateRequest>()),
        ("ws_ticket_create_response", schema::<rpc::WsTicketCreateResponse>()),
        ("ws_ticket_redeem_request", schema::<rpc::WsTicketRedeemRequest>()),
        ("token_keys_request", schema::<rpc::TokenKeysRequest>()),
        ("token_keys_response", schema::<rpc::TokenKeysResponse>()),
        ("task_submit_request", schema::<rpc::TaskSubmitRequest>()),
        ("task_response", schema::<rpc::TaskResponse>()),
        ("task_get_request", schema::<rpc::TaskGetRequest>()),
        ("task_get_response", schema::<rpc::TaskGetResponse>()),
        ("task_list_request", schema::<rpc::TaskListRequest>()),
        ("task_list_response", schema::<rpc::TaskListResponse>()),
        ("task_cancel_request", schema::<rpc::TaskCancelRequest>()),
        ("task_accept_request", schema::<rpc::TaskAcceptRequest>()),
        ("task_accept_response", schema::<rpc::TaskAcceptResponse>()),
        ("task_progress_request", schema::<rpc::TaskProgressRequest>()),
        ("task_complete_request", schema::<rpc::TaskCompleteRequest>()),
        ("task_fail_request", schema::<rpc::TaskFailRequest>()),
        ("task_report_response", schema::<rpc::TaskReportResponse>()),
        ("task_queues_request", schema::<rpc::TaskQueuesRequest>()),
        ("task_queues_response", schema::<rpc::TaskQueuesResponse>()),
        ("task_queue_clear_request", schema::<rpc::TaskQueueClearRequest>()),
        ("task_queue_clear_response", schema::<rpc::TaskQueueClearResponse>()),
        ("task_stats_request", schema::<rpc::TaskStatsRequest>()),
        ("task_stats_response", schema::<rpc::TaskStatsResponse>()),
        ("task_strategy_request", schema::<rpc::TaskStrategyRequest>()),
        ("task_strategy_response", schema::<rpc::TaskStrategyResponse>()),
        ("set_status_request", schema::<rpc::SetStatusRequest>()),
        ("status_event", schema::<rpc::StatusEvent>()),
        ("status_list_request", schema::<rpc::StatusListRequest>()),
        ("status_list_response", schema::<rpc::StatusListResponse>()),
        ("task_assignment", schema::<agentnet_proto::task::TaskAssignment>()),
        ("task_event", schema::<agentnet_proto::task::TaskEvent>()),
        ("metrics_request", schema::<rpc::MetricsRequest>()),
        ("metrics_response", schema::<rpc::MetricsResponse>()),
    ]
}

#[test]
fn checked_in_schemas_are_fresh() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/schema");
    let update = std::env::var_os("UPDATE_SCHEMAS").is_some();
    let mut expected = BTreeSet::new();
    let mut stale = Vec::new();
    for (name, schema) in all() {
        let file = format!("{name}.json");
        let text = format!("{schema:#}\n");
        if update {
            fs::create_dir_all(&dir).unwrap();
            fs::write(dir.join(&file), text).unwrap();
        } else if fs::read_to_string(dir.join(&file)).ok().as_deref() != Some(text.as_str()) {
            stale.push(file.clone());
        }
        expected.insert(file);
    }
    for entry in fs::read_dir(&dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !expected.contains(&name) {
            stale.push(format!("{name} (no such type)"));
        }
    }
    assert!(
        stale.is_empty(),
        "stale: {stale:?}; run UPDATE_SCHEMAS=1 cargo test -p agentnet-proto --test schemas"
    );
}

fn error_table() -> String {
    let mut text = String::from(
        "# Error codes\n\nGenerated from `crates/agentnet-proto/src/error.rs`. *retry* means that the unchanged request may \
         succeed later; *HTTP* is the status a gateway answers.\n\n| code | HTTP | retry | meaning |\n|---|---|---|---|\n",
    );
    for code in ErrorCode::ALL {
        let retry = if code.retryable() { "yes" } else { "" };
        text += &format!("| `{code}` | {} | {retry} | {} |\n", code.http_status(), code.meaning().trim());
    }
    text
}

#[test]
fn the_list_of_error_codes_is_fresh() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/ERRORS.md");
    if std::env::var_os("UPDATE_SCHEMAS").is_some() {
        fs::write(&file, error_table()).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        found == error_table(),
        "docs/ERRORS.md is stale: run UPDATE_SCHEMAS=1 cargo test -p agentnet-proto --test schemas"
    );
}

#[test]
fn the_seeds_envelope_satisfies_its_schema() {
    let envelope = json!({
        "message_id": "b3d0", "from_agent": "agent_a", "from_account_id": "acct_01", "to_agent": "agent_b",
        "to_account_id": "acct_02", "payload": {"text": "yo"}, "sent_at": "2026-02-21T08:00:00Z", "ttl_ms": 30000,
        "expires_at": "2026-02-21T08:00:30Z", "trace_id": "b3d0", "thread_id": "thread_b3d0", "parent_message_id": null,
        "kind": "direct", "schema_version": "1.1", "idempotency_key": "order_123_step_1",
    });
    let validator = jsonschema::validator_for(&schema::<Envelope>()).unwrap();
    assert!(
        validator.is_valid(&envelope),
        "{:?}",
        validator.iter_errors(&envelope).map(|e| e.to_string()).collect::<Vec<_>>()
    );
    assert!(!validator.is_valid(&json!({"message_id": 1})));
}
