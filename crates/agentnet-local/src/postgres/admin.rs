//! Databases of our own server.

use sqlx::{AssertSqlSafe, Connection, PgConnection, postgres::PgConnectOptions};

use crate::{Error, Result};

/// Longest name that Postgres keeps whole.
const NAME_LIMIT: usize = 63;
/// `duplicate_database`, and `unique_violation` when two create it at the same moment.
const ALREADY_THERE: [&str; 2] = ["42P04", "23505"];

/// A name that needs no quoting; everything else is refused, so names can go into statements.
pub(crate) fn checked_name(name: &str) -> Result<&str> {
    let valid = name.len() <= NAME_LIMIT
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if valid { Ok(name) } else { Err(Error::DatabaseName { name: name.to_owned() }) }
}

/// Creates a database, from a template if one is given. `false` if it was there already.
pub(crate) async fn create(
    connection: &mut PgConnection,
    name: &str,
    template: Option<&str>,
) -> Result<bool> {
    let mut sql = format!("CREATE DATABASE {}", checked_name(name)?);
    if let Some(template) = template {
        sql = format!("{sql} TEMPLATE {}", checked_name(template)?);
    }
    match execute(connection, &sql).await {
        Ok(()) => Ok(true),
        Err(sqlx::Error::Database(error))
            if error.code().is_some_and(|code| ALREADY_THERE.contains(&&*code)) =>
        {
            Ok(false)
        }
        Err(source) => Err(Error::Database { doing: format!("create database {name}"), source }),
    }
}

/// Drops a database and whoever is connected to it.
pub(crate) async fn drop(connection: &mut PgConnection, name: &str) -> Result<()> {
    let sql = format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", checked_name(name)?);
    execute(connection, &sql)
        .await
        .map_err(|source| Error::Database { doing: format!("drop database {name}"), source })
}

/// Runs one statement that is made of checked names only.
pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) -> sqlx::Result<()> {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.map(|_| ())
}

/// Connects to the maintenance database of a server.
pub(crate) async fn connect(options: &PgConnectOptions) -> Result<PgConnection> {
    PgConnection::connect_with(options)
        .await
        .map_err(|source| Error::Database { doing: "connect to our Postgres".to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_carry_sql() {
        for name in ["", "a b", "a\"b", "a;b", "A", "1a", "a-b", "é", &"a".repeat(64)] {
            assert!(matches!(checked_name(name), Err(Error::DatabaseName { .. })), "{name:?}");
        }
        assert_eq!(checked_name("t_1_agentnet").unwrap(), "t_1_agentnet");
    }
}
