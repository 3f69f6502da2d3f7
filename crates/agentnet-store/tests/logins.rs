//! Logins, their tokens and keys, and attempts that failed: what holds when several come at once, and where bounds are.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use agentnet_local::testing::TestDb;
use agentnet_proto::Timestamp;
use agentnet_store::attempts::{self, Kind, Pace};
use agentnet_store::keys::{self, SessionKey};
use agentnet_store::logins::{self, Ended, MAX_LOGINS, MAX_SESSION_KEYS, NewLogin, Refresh, Which};
use agentnet_store::users::{self, NewPerson};
use agentnet_store::{Store, StoreConfig};
use sqlx::PgPool;

const ANN: &str = "acct_01kahj000000000000000000ab";
const DAY: Duration = Duration::from_secs(86_400);

fn start() -> Timestamp {
    Timestamp::from_unix_millis(1_790_000_000_000).unwrap()
}

async fn database() -> (TestDb, PgPool) {
    let db = TestDb::create_from("store_logins", |url| async move {
        Store::migrate(&StoreConfig::new(url.into(), "test")).await
    })
    .await;
    let pool = sqlx::postgres::PgPoolOptions::new().max_connections(6).connect(db.url()).await.unwrap();
    let mut conn = pool.acquire().await.unwrap();
    let ann = NewPerson { account_id: ANN, username: "ann", display_name: "Ann", role: "agent" };
    assert!(users::create(&mut conn, &ann, start()).await.unwrap());
    assert!(!users::create(&mut conn, &ann, start()).await.unwrap(), "taken");
    (db, pool)
}

async fn login(pool: &PgPool, sid: &str, now: Timestamp) {
    let mut conn = pool.acquire().await.unwrap();
    let expires_at = now.saturating_add(DAY);
    let new = NewLogin { sid, account_id: ANN, api_key_id: None, scopes: &[], via: None, expires_at };
    logins::create(&mut conn, &new, now).await.unwrap();
}

async fn bind(pool: &PgPool, sid: &str, key: &str, now: Timestamp) -> bool {
    let mut conn = pool.acquire().await.unwrap();
    let expires_at = now.saturating_add(Duration::from_secs(3600));
    let key = SessionKey { account_id: ANN, public_key: key, sid, via: None, expires_at };
    keys::bind_session(&mut conn, &key, now).await.unwrap()
}

#[tokio::test]
async fn of_all_who_use_a_refresh_token_at_once_one_goes_on() {
    let (_db, pool) = database().await;
    login(&pool, "s", start()).await;
    let hash = [7; 32];
    let until = start().saturating_add(DAY);
    logins::add_refresh(&mut pool.acquire().await.unwrap(), &hash, "s", until).await.unwrap();
    let tries: Vec<_> = (0..6)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                let mut tx = pool.begin().await.unwrap();
                let found = logins::spend_refresh(&mut tx, &hash, start()).await.unwrap();
                tx.commit().await.unwrap();
                found
            })
        })
        .collect();
    let mut good = 0;
    for one in tries {
        match one.await.unwrap() {
            Refresh::Good(sid) => good += usize::from(sid == "s"),
            Refresh::Spent(sid) => assert_eq!(sid, "s"),
            Refresh::Unknown => panic!("forgotten"),
        }
    }
    assert_eq!(good, 1);
    let mut conn = pool.acquire().await.unwrap();
    assert_eq!(logins::spend_refresh(&mut conn, &[8; 32], start()).await.unwrap(), Refresh::Unknown);
    logins::add_refresh(&mut conn, &[9; 32], "s", until).await.unwrap();
    assert_eq!(logins::spend_refresh(&mut conn, &[9; 32], until).await.unwrap(), Refresh::Unknown, "over");
}

#[tokio::test]
async fn too_many_logins_and_keys_end_the_oldest() {
    let (_db, pool) = database().await;
    for n in 0..=MAX_LOGINS {
        let now = start().saturating_add(Duration::from_secs(n.unsigned_abs()));
        login(&pool, &format!("s{n:02}"), now).await;
        assert!(bind(&pool, &format!("s{n:02}"), &format!("key{n}"), now).await);
    }
    let now = start().saturating_add(Duration::from_secs(100));
    let mut conn = pool.acquire().await.unwrap();
    let which = Which::Surplus { account_id: ANN, api_key_id: None };
    let ended = logins::end(&mut conn, which, Ended::Replaced, now).await.unwrap();
    assert_eq!(ended, [(ANN.to_owned(), "key0".to_owned())]);
    assert!(logins::live(&mut conn, "s00", now).await.unwrap().is_none());
    assert!(logins::live(&mut conn, "s01", now).await.unwrap().is_some());
    drop(conn);
    for n in 0..MAX_SESSION_KEYS {
        let later = now.saturating_add(Duration::from_secs(n.unsigned_abs() + 1));
        assert!(bind(&pool, "s01", &format!("more{n}"), later).await);
    }
    let mut conn = pool.acquire().await.unwrap();
    let sids = ["s01".to_owned()];
    let ended = keys::end_sessions(&mut conn, &sids, MAX_SESSION_KEYS, now).await.unwrap();
    assert_eq!(ended, [(ANN.to_owned(), "key1".to_owned())]);
}

#[tokio::test]
async fn a_session_key_is_bound_prolonged_and_never_comes_back() {
    let (_db, pool) = database().await;
    login(&pool, "s", start()).await;
    assert!(bind(&pool, "s", "key", start()).await);
    let later = start().saturating_add(Duration::from_secs(1800));
    assert!(bind(&pool, "s", "key", later).await, "prolonged");
    let mut conn = pool.acquire().await.unwrap();
    let owner = |at| agentnet_store::accounts::owner_of_key(&pool, "key", at);
    let hour = Duration::from_secs(3600);
    let found = owner(start().saturating_add(hour)).await.unwrap().unwrap();
    assert_eq!(found.standing.account_id, ANN);
    assert_eq!(found.session_until, Some(later.saturating_add(hour).to_offset()));
    assert!(owner(later.saturating_add(hour)).await.unwrap().is_none(), "its time is over");
    // Not the account's own, and not listed with those.
    assert_eq!(keys::active_key(&mut *conn, ANN).await.unwrap(), None);
    assert!(keys::history(&mut *conn, &[ANN], &[]).await.unwrap().is_empty());
    let spans = keys::history(&mut *conn, &[ANN], &["key", "other"]).await.unwrap();
    assert!(spans.len() == 1 && spans[0].is_session() && spans[0].is_active(later));
    drop(conn);
    assert!(!bind(&pool, "s", "key", later.saturating_add(hour)).await, "it ended");
    assert!(bind(&pool, "s", "second", later).await);
    let mut conn = pool.acquire().await.unwrap();
    let ended = logins::end(&mut conn, Which::Sid("s"), Ended::Logout, later).await.unwrap();
    assert_eq!(ended.len(), 2);
    assert!(logins::end(&mut conn, Which::Sid("s"), Ended::Logout, later).await.unwrap().is_empty());
    drop(conn);
    assert!(!bind(&pool, "s", "second", later).await, "it was revoked");
}

#[tokio::test]
async fn failures_cost_more_and_more_time_and_are_forgotten() {
    let (_db, pool) = database().await;
    let pace = Pace { free: 2, longest: Duration::from_secs(8), forget_after: Duration::from_secs(100) };
    let subject = [1; 32];
    let attempt = |at: Timestamp| attempts::begin(&pool, Kind::Name, &subject, &pace, at);
    let seconds = |n| start().saturating_add(Duration::from_secs(n));
    assert_eq!(attempt(seconds(0)).await.unwrap(), None);
    assert_eq!(attempt(seconds(0)).await.unwrap(), None, "two are free");
    let mut at = 0;
    for wait in [1, 2, 4, 8, 8] {
        let refused = attempt(seconds(at)).await.unwrap();
        assert_eq!(refused, Some(Duration::from_secs(wait)), "after {at} s");
        at += wait;
        assert_eq!(attempt(seconds(at)).await.unwrap(), None, "after {at} s");
    }
    // Another subject, and the same one as an address, have nothing to do with it.
    assert_eq!(attempts::begin(&pool, Kind::Name, &[2; 32], &pace, seconds(at)).await.unwrap(), None);
    assert_eq!(attempts::begin(&pool, Kind::Address, &subject, &pace, seconds(at)).await.unwrap(), None);
    attempts::succeeded(&pool, Some(&subject), Some(&subject), seconds(at)).await.unwrap();
    assert_eq!(attempt(seconds(at)).await.unwrap(), None, "forgotten with a success");
    for _ in 0..2 {
        attempt(seconds(at)).await.unwrap();
    }
    assert!(attempt(seconds(at)).await.unwrap().is_some());
    assert_eq!(attempt(seconds(at + 101)).await.unwrap(), None, "forgotten with time");
}

#[tokio::test]
async fn many_attempts_at_once_are_all_counted() {
    let (_db, pool) = database().await;
    let pace = Pace { free: 5, longest: Duration::from_secs(60), forget_after: DAY };
    let tries: Vec<_> = (0..24)
        .map(|_| {
            let pool = pool.clone();
            tokio::spawn(async move {
                attempts::begin(&pool, Kind::Name, &[3; 32], &pace, start()).await.unwrap()
            })
        })
        .collect();
    let mut passed = 0;
    for one in tries {
        passed += usize::from(one.await.unwrap().is_none());
    }
    assert_eq!(passed, 5);
}
