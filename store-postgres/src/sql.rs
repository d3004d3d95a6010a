//! The statements, and the names in them.

use std::sync::Arc;

use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};

/// The server's time in µs since 1970, read anew wherever it stands.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// What is read of a record as it stands in the table: see [`columns`].
const COLUMNS: [&str; 24] = [
    "key",
    "long_key",
    "owner",
    "fence",
    "attempt",
    "on_unknown",
    "confirmed",
    "fingerprint_version",
    "fingerprint",
    "acquired_at",
    "lease_until",
    "completed_at",
    "forgotten_at",
    "retention",
    "unknown_retention",
    "prior_attempt",
    "prior_fence",
    "prior_ended_at",
    "prior_told",
    "prior_forgotten_at",
    "trace_parent",
    "correlation_id",
    "omitted",
    "value",
];

/// What is written of a key that is new.
const NEW: &str = "key, long_key, state, owner, fence, attempt, on_unknown, confirmed, fingerprint_version, fingerprint, \
     acquired_at, lease_until, completed_at, forgotten_at, retention, unknown_retention, trace_parent, correlation_id, \
     attributes, look_at";

/// What is changed by a move that is made in two steps.
const SETS: &str = "state = $3::text::\"char\", owner = $4, fence = $5, attempt = $6, on_unknown = $7, confirmed = $8, \
     fingerprint_version = $9, fingerprint = $10, acquired_at = $11, lease_until = $12, completed_at = $13, \
     forgotten_at = $14, retention = $15, unknown_retention = $16, prior_attempt = $17, prior_fence = $18, \
     prior_ended_at = $19, prior_told = $20, prior_forgotten_at = $21, trace_parent = $22, correlation_id = $23, \
     attributes = $24::text::jsonb, omitted = $25, value = $26, look_at = $27";

/// Every statement, with the table's name in it.
#[derive(Debug)]
pub(crate) struct Sql {
    /// What waiters listen to.
    pub(crate) channel: String,
    pub(crate) get: SqlStr,
    pub(crate) acquire: SqlStr,
    pub(crate) acquire_one: SqlStr,
    pub(crate) complete: SqlStr,
    pub(crate) complete_one: SqlStr,
    pub(crate) extend: SqlStr,
    pub(crate) change: SqlStr,
    pub(crate) look: SqlStr,
    pub(crate) keep_known: SqlStr,
    pub(crate) keep_new: SqlStr,
    pub(crate) watch: SqlStr,
    pub(crate) purge: SqlStr,
    pub(crate) stats: SqlStr,
    pub(crate) list: SqlStr,
}

impl Sql {
    /// The names were checked: they are plain words.
    pub(crate) fn new(schema: &str, table: &str) -> Self {
        let t = format!("\"{schema}\".\"{table}\"");
        let next_fence = format!("nextval('\"{schema}\".\"{table}_fences\"')");
        let channel = format!("{schema}.{table}");
        let columns = columns(|name, from| format!("{from} AS {name}"));
        Self {
            get: text(format!(
                "SELECT {NOW} AS now, {columns} FROM (SELECT $1::text AS key) asked LEFT JOIN {t} r ON r.key = asked.key"
            )),
            acquire: acquire(&t, &next_fence),
            // The same for one key, in a shape that takes the server less: a join with one row is cheap.
            acquire_one: text(format!(
                "WITH looked AS MATERIALIZED (\
                   SELECT c.now, {columns}, r.key IS NOT NULL OR pg_try_advisory_xact_lock_shared($14) AS free \
                   FROM (SELECT {NOW} AS now OFFSET 0) c \
                   LEFT JOIN LATERAL (SELECT *, xmin FROM {t} t WHERE t.key = $1 OFFSET 0) r ON true), \
                 new AS (\
                   INSERT INTO {t} ({NEW}) \
                   SELECT $1, $2, 'P', $3, {next_fence}, 1, $4, $7, $6, $5, now, now + $8, 0, now + $8 + $10, $9, $10, \
                     $11, $12, $13::text::jsonb, now + $9 \
                   FROM looked WHERE free AND version IS NULL ON CONFLICT (key) DO NOTHING RETURNING fence) \
                 SELECT $1 AS a_key, l.*, new.fence AS new_fence, CASE \
                     WHEN NOT l.free OR (l.state = 'C' AND l.forgotten_at > l.now) \
                       OR (l.state = 'P' AND l.lease_until > l.now) OR l.version IS NULL THEN NULL \
                     ELSE {next_fence} END AS next_fence \
                 FROM looked l LEFT JOIN new ON true"
            )),
            // Where somebody waits to be told, it is done by a move in two steps. A lone call delays nobody else
            // where it waits for the row.
            complete_one: text(format!(
                "UPDATE {t} r SET state = 'C', completed_at = c.now, forgotten_at = c.now + $6, omitted = $4, \
                   value = $5, prior_attempt = NULL, prior_fence = NULL, prior_ended_at = NULL, prior_told = NULL, \
                   prior_forgotten_at = NULL \
                 FROM (SELECT {NOW} AS now OFFSET 0) c \
                 WHERE r.key = $1 AND r.state = 'P' AND r.owner = $2 AND r.fence = $3 AND NOT r.watched \
                   AND r.forgotten_at > c.now RETURNING r.key"
            )),
            // Rows that others are at are left out, and looked at by themselves.
            complete: text(format!(
                "WITH held AS MATERIALIZED (\
                   SELECT a.*, r.key, r.watched, {NOW} AS now \
                   FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::smallint[], $5::bytea[], $6::bigint[]) \
                     AS a(a_key, a_owner, a_fence, a_omitted, a_value, a_retention) \
                   CROSS JOIN LATERAL (SELECT t.key, t.watched FROM {t} t WHERE t.key = a_key AND t.state = 'P' \
                     AND t.owner = a_owner AND t.fence = a_fence FOR NO KEY UPDATE OF t SKIP LOCKED) r), \
                 done AS (\
                   UPDATE {t} r SET state = 'C', completed_at = h.now, forgotten_at = h.now + h.a_retention, \
                     omitted = h.a_omitted, value = h.a_value, prior_attempt = NULL, prior_fence = NULL, \
                     prior_ended_at = NULL, prior_told = NULL, prior_forgotten_at = NULL, watched = false \
                   FROM held h WHERE r.key = h.key AND r.state = 'P' AND r.owner = h.a_owner AND r.fence = h.a_fence \
                     AND r.forgotten_at > h.now RETURNING r.key, h.watched AS was_watched) \
                 SELECT key, CASE WHEN was_watched THEN pg_notify('{channel}', key) END FROM done",
            )),
            extend: text(format!(
                "WITH held AS MATERIALIZED (SELECT key, {NOW} AS now FROM {t} WHERE key = $1 AND state = 'P' \
                   AND owner = $2 AND fence = $3 FOR NO KEY UPDATE SKIP LOCKED) \
                 UPDATE {t} r SET lease_until = h.now + $4, confirmed = true, \
                   forgotten_at = greatest(h.now + $4 + r.unknown_retention, r.prior_forgotten_at) \
                 FROM held h WHERE r.key = h.key AND r.state = 'P' AND r.owner = $2 AND r.fence = $3 \
                   AND r.forgotten_at > h.now RETURNING r.key"
            )),
            change: text(format!(
                "WITH free AS (SELECT pg_try_advisory_xact_lock_shared($28) AS free), \
                 changed AS (UPDATE {t} r SET {SETS}, watched = false FROM {t} before \
                   WHERE before.key = r.key AND r.key = $1 AND r.xmin::text = $2 AND {NOW} < $29 AND (SELECT free FROM free) \
                   RETURNING before.watched AS was_watched), \
                 told AS (SELECT pg_notify('{channel}', $1) FROM changed WHERE was_watched) \
                 SELECT free, (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM told) AS told FROM free"
            )),
            // In a transaction that has, or has not, got the key's lock. Only one that is to write needs a
            // number.
            look: text(format!(
                "SELECT l.*, CASE WHEN l.grants THEN {next_fence} END AS next_fence, \
                   CASE WHEN l.grants THEN txid_current() END AS number \
                 FROM (SELECT s.now, s.free, {columns}, s.free AND NOT coalesce(\
                     (r.state = 'C' AND r.forgotten_at > s.now) OR (r.state = 'P' AND r.lease_until > s.now), false) AS grants \
                   FROM (SELECT $1::text AS asked, {NOW} AS now, current_setting('idempotency.free')::bool AS free OFFSET 0) s \
                   LEFT JOIN LATERAL (SELECT *, xmin FROM {t} t WHERE t.key = s.asked OFFSET 0) r ON true) l"
            )),
            // If the record is the one that was looked at: waiters and purges may have changed the row.
            keep_known: text(format!(
                "WITH held AS MATERIALIZED (SELECT key, watched FROM {t} WHERE key = $1 AND fence = $2 \
                   AND state = $29::text::\"char\" AND lease_until = coalesce($30, lease_until) \
                   AND txid_current() = $28 FOR NO KEY UPDATE), \
                 kept AS (UPDATE {t} r SET {SETS}, watched = false FROM held h WHERE r.key = h.key \
                   RETURNING r.key, h.watched AS was_watched) \
                 SELECT CASE WHEN was_watched THEN pg_notify('{channel}', key) END FROM kept"
            )),
            keep_new: text(format!(
                "INSERT INTO {t} (key, long_key, state, owner, fence, attempt, on_unknown, confirmed, \
                   fingerprint_version, fingerprint, acquired_at, lease_until, completed_at, forgotten_at, retention, \
                   unknown_retention, prior_attempt, prior_fence, prior_ended_at, prior_told, prior_forgotten_at, \
                   trace_parent, correlation_id, attributes, omitted, value, look_at) \
                 SELECT $1, $2, $3::text::\"char\", $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, \
                   $19, $20, $21, $22, $23, $24::text::jsonb, $25, $26, $27 WHERE txid_current() = $28 \
                 ON CONFLICT (key) DO NOTHING RETURNING key"
            )),
            watch: text(format!(
                "WITH watched AS (UPDATE {t} SET watched = true WHERE key = $1 AND state = 'P' AND NOT watched) \
                 SELECT FROM {t} WHERE key = $1 AND state = 'P'"
            )),
            // Found once and locked, rows stay where they are: no index is asked for them again.
            purge: text(format!(
                "WITH due AS MATERIALIZED (SELECT ctid, forgotten_at FROM {t} WHERE look_at <= $1 ORDER BY look_at LIMIT $2 \
                   FOR UPDATE SKIP LOCKED), \
                 gone AS (DELETE FROM {t} WHERE ctid = ANY(ARRAY(SELECT ctid FROM due WHERE forgotten_at <= $1)) \
                   RETURNING 1), \
                 later AS (UPDATE {t} SET look_at = forgotten_at \
                   WHERE ctid = ANY(ARRAY(SELECT ctid FROM due WHERE forgotten_at > $1)) RETURNING 1) \
                 SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM later) AS later, \
                   EXISTS (SELECT FROM {t} WHERE look_at <= $1) AS held"
            )),
            stats: text(format!(
                "SELECT state::text AS state, confirmed, lease_until > $1 AS live, prior_attempt IS NOT NULL AS has_prior, \
                   forgotten_at > $1 AS known, count(*) AS count, min(acquired_at) AS oldest \
                 FROM {t} GROUP BY 1, 2, 3, 4, 5"
            )),
            list: text(format!(
                "SELECT {NOW} AS now, {columns} FROM {t} r WHERE r.key > $1 AND r.forgotten_at > $2 \
                 ORDER BY r.key LIMIT $3"
            )),
            channel,
        }
    }
}

/// Acquires the keys that nobody has, and looks at the others. Each asked for comes back in a row, with its
/// new fence or with its record, but for one that came or went while this ran: it is to be asked for again.
///
/// A key that somebody's open transaction is about to insert would be waited for; that transaction holds
/// the key's advisory lock. Each key is looked up by the index, in the order in which they are asked for,
/// whatever the planner knows of a table that grows fast.
fn acquire(table: &str, next_fence: &str) -> SqlStr {
    let (names, none) = (columns(|name, _| name.to_owned()), columns(|_, _| "NULL".to_owned()));
    text(format!(
        "WITH clock AS MATERIALIZED (SELECT {NOW} AS now), \
         looked AS MATERIALIZED (\
           SELECT a.*, clock.now, {}, r.key IS NOT NULL OR pg_try_advisory_xact_lock_shared(a_lock) AS free \
           FROM clock, unnest($1::text[], $2::text[], $3::bytea[], $4::smallint[], $5::bytea[], $6::smallint[], $7::bool[], \
             $8::bigint[], $9::bigint[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::bigint[]) \
           AS a(a_key, a_long_key, a_owner, a_on_unknown, a_fingerprint, a_fingerprint_version, a_confirmed, \
             a_lease, a_retention, a_unknown_retention, a_trace_parent, a_correlation_id, a_attributes, a_lock) \
           LEFT JOIN LATERAL (SELECT *, xmin FROM {table} t WHERE t.key = a_key OFFSET 0) r ON true), \
         new AS (\
           INSERT INTO {table} ({NEW}) \
           SELECT a_key, a_long_key, 'P', a_owner, {next_fence}, 1, a_on_unknown, a_confirmed, \
             a_fingerprint_version, a_fingerprint, now, now + a_lease, 0, now + a_lease + a_unknown_retention, \
             a_retention, a_unknown_retention, a_trace_parent, a_correlation_id, a_attributes::jsonb, \
             now + a_retention \
           FROM looked WHERE free AND version IS NULL ON CONFLICT (key) DO NOTHING RETURNING key, fence) \
         SELECT a_key, free, now, NULL::bigint AS new_fence, CASE \
             WHEN NOT free OR (state = 'C' AND forgotten_at > now) OR (state = 'P' AND lease_until > now) THEN NULL \
             ELSE {next_fence} END AS next_fence, {names} \
         FROM looked WHERE version IS NOT NULL OR NOT free \
         UNION ALL SELECT key, true, 0, fence, NULL, {none} FROM new",
        columns(|name, from| format!("{from} AS {name}")),
    ))
}

/// A record's columns, as [`row`](crate::row) reads them, from a table called `r`.
fn columns(each: impl Fn(&str, &str) -> String) -> String {
    let own = COLUMNS.map(|name| each(name, &format!("r.{name}")));
    let cast = [("state", "r.state::text"), ("attributes", "r.attributes::text"), ("version", "r.xmin::text")];
    own.into_iter().chain(cast.map(|(name, from)| each(name, from))).collect::<Vec<_>>().join(", ")
}

fn text(sql: String) -> SqlStr {
    // Nothing of a caller's is in it but the names, which were checked.
    AssertSqlSafe(Arc::<str>::from(sql)).into_sql_str()
}
