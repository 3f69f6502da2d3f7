//! Guests: accounts that go some days after anybody used them last.
#![allow(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod support;

use serde_json::{Value, json};
use support::World;
use support::agents::QUICK;

impl World {
    async fn guest(&self, name: &str) -> (String, String) {
        let answer = self.register(json!({"agent_id": name, "username": name, "guest": true})).await;
        let text = |field: &str| answer[field].as_str().unwrap().to_owned();
        (text("account_id"), text("session_tag"))
    }

    /// Lets this account have been there last so many days ago.
    async fn away_for(&self, account_id: &str, days: i32) {
        for sql in [
            "UPDATE agent_accounts SET updated_at = updated_at - make_interval(days => $2) WHERE account_id = $1",
            "UPDATE agent_sessions SET disconnected_at = disconnected_at - make_interval(days => $2) \
             WHERE account_id = $1",
        ] {
            sqlx::query(sql).bind(account_id).bind(days).execute(&self.pool).await.unwrap();
        }
    }

    async fn is_known(&self, account_id: &str) -> bool {
        let known = "SELECT EXISTS (SELECT FROM agent_accounts WHERE account_id = $1)";
        sqlx::query_scalar(known).bind(account_id).fetch_one(&self.pool).await.unwrap()
    }
}

#[tokio::test]
async fn guests_go_when_nobody_used_them_for_a_while_and_nobody_else_does() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    let (gone, gone_tag) = world.guest("guest_gone").await;
    let (here, _) = world.guest("guest_here").await;
    let (lately, lately_tag) = world.guest("guest_lately").await;
    let resident = world.register(json!({"agent_id": "resident", "username": "resident"})).await;
    let resident = resident["account_id"].as_str().unwrap().to_owned();
    // One who had a guest's name before there were any.
    sqlx::query("UPDATE agent_accounts SET username = 'guesthouse' WHERE account_id = $1")
        .bind(&resident)
        .execute(&world.pool)
        .await
        .unwrap();
    // The guest owns a thread, is in another, and has what an account can have.
    let owned = world
        .call("thread_create", json!({"account_id": gone, "thread_id": "owned", "invite": [resident]}))
        .await;
    assert_eq!(owned["members"].as_array().unwrap().len(), 2);
    world.call("thread_join", json!({"account_id": resident, "thread_id": "owned"})).await;
    world.call("peer_add", json!({"account_id": gone, "peer": resident})).await;
    world.call("data_put", json!({"account_id": gone, "key": "k", "value": 1})).await;
    world.call("block_add", json!({"account_id": gone, "target": here})).await;
    for tag in [&gone_tag, &lately_tag] {
        world.publish("goodbye", &json!({"agent_id": "x", "session_tag": tag})).await;
    }
    world.holds("SELECT count(*) = 2 FROM agent_sessions WHERE status = 'offline'").await;
    for (account, days) in [(&here, 30), (&lately, 1), (&resident, 30), (&gone, 3)] {
        world.away_for(account, days).await;
    }
    world.holds("SELECT count(*) = 0 FROM agent_accounts WHERE username = 'guest_gone'").await;
    for account in [&here, &lately, &resident] {
        assert!(world.is_known(account).await, "{account}");
    }
    let members = world.call("thread_members", json!({"thread_id": "owned"})).await;
    let members = members["members"].as_array().unwrap();
    assert_eq!(members.len(), 1, "{members:?}");
    assert_eq!((&members[0]["account_id"], &members[0]["role"]), (&Value::from(resident), &json!("owner")));
    world
        .holds(
            "SELECT (SELECT count(*) FROM agent_peers) + (SELECT count(*) FROM agent_blocks) \
             + (SELECT count(*) FROM agent_documents) + (SELECT count(*) FROM agent_sessions \
                WHERE username = 'guest_gone') = 0",
        )
        .await;
    // Nobody remembers the name, and another guest may have it.
    assert_eq!(world.error("resolve_account", json!({"username": "guest_gone"})).await, "not_found");
    assert_ne!(world.guest("guest_gone").await.0, gone);
    registry.stop().await;
}

#[tokio::test]
async fn people_arent_called_guests_either() {
    let world = World::new().await;
    let registry = world.registry(&QUICK).await;
    for name in ["guest", "Guest 7", "@guesthouse"] {
        let body = json!({"username": name, "password": "a long enough password"});
        assert_eq!(world.error("user_create", body).await, "username_reserved", "{name}");
    }
    world.call("user_create", json!({"username": "augusta", "password": "a long enough password"})).await;
    registry.stop().await;
}
