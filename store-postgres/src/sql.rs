//! The statements, and the names in them.

/// The server's time in µs since 1970, read anew wherever it stands.
const NOW: &str = "(extract(epoch FROM clock_timestamp()) * 1000000)::bigint";

/// A record's columns, as [`row`](crate::row) reads them.
const COLUMNS: &str = "r.key, r.long_key, r.state::text AS state, r.owner, r.fence, r.attempt, r.on_unknown, r.confirmed, \
     r.fingerprint_version, r.fingerprint, r.acquired_at, r.lease_until, r.completed_at, r.forgotten_at, r.retention, \
     r.unknown_retention, r.prior_attempt, r.prior_fence, r.prior_ended_at, r.prior_told, r.prior_forgotten_at, \
     r.trace_parent, r.correlation_id, r.attributes::text AS attributes, r.omitted, r.value, r.xmin::text AS version";

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
    pub(crate) get: String,
    pub(crate) acquire: String,
    pub(crate) complete: String,
    pub(crate) extend: String,
    pub(crate) change: String,
    pub(crate) watch: String,
    pub(crate) purge: String,
    pub(crate) stats: String,
    pub(crate) list: String,
}

impl Sql {
    /// The names were checked: they are plain words.
    pub(crate) fn new(schema: &str, table: &str) -> Self {
        let t = format!("\"{schema}\".\"{table}\"");
        let next_fence = format!("nextval('\"{schema}\".\"{table}_fences\"')");
        let channel = format!("{schema}.{table}");
        Self {
            get: format!(
                "SELECT {NOW} AS now, {COLUMNS} FROM (SELECT $1::text AS key) asked LEFT JOIN {t} r ON r.key = asked.key"
            ),
            // A key that somebody's open transaction is about to insert would be waited for; that
            // transaction holds the key's advisory lock. Whoever inserts meanwhile, in a statement of its
            // own, is not seen by this one: then neither part gives a row, and the call is made again.
            acquire: format!(
                "WITH asked AS MATERIALIZED (\
                   SELECT *, pg_try_advisory_xact_lock_shared({LOCK}) AS free FROM unnest($1::text[], $2::text[], \
                     $3::bytea[], $4::smallint[], $5::bytea[], $6::smallint[], $7::bool[], $8::bigint[], $9::bigint[], \
                     $10::bigint[], $11::text[], $12::text[], $13::text[]) \
                   AS a(key, long_key, owner, on_unknown, fingerprint, fingerprint_version, confirmed, lease, retention, \
                     unknown_retention, trace_parent, correlation_id, attributes)), \
                 new AS (\
                   INSERT INTO {t} (key, long_key, state, owner, fence, attempt, on_unknown, confirmed, \
                     fingerprint_version, fingerprint, acquired_at, lease_until, completed_at, forgotten_at, retention, \
                     unknown_retention, trace_parent, correlation_id, attributes, look_at) \
                   SELECT a.key, a.long_key, 'P', a.owner, {next_fence}, 1, a.on_unknown, a.confirmed, \
                     a.fingerprint_version, a.fingerprint, t.now, t.now + a.lease, 0, \
                     t.now + a.lease + a.unknown_retention, a.retention, a.unknown_retention, a.trace_parent, \
                     a.correlation_id, a.attributes::jsonb, t.now + a.retention \
                   FROM asked a, LATERAL (SELECT {NOW} AS now OFFSET 0) t \
                   WHERE a.free AND NOT EXISTS (SELECT FROM {t} r WHERE r.key = a.key) \
                   ORDER BY a.key ON CONFLICT (key) DO NOTHING RETURNING key, fence) \
                 SELECT a.key AS asked, a.free, new.fence AS new_fence, {NOW} AS now, \
                   CASE WHEN r.state <> 'C' OR r.forgotten_at <= {NOW} THEN {next_fence} END AS next_fence, {COLUMNS} \
                 FROM asked a LEFT JOIN new ON new.key = a.key LEFT JOIN {t} r ON r.key = a.key"
            ),
            complete: format!(
                "WITH asked AS MATERIALIZED (\
                   SELECT * FROM unnest($1::text[], $2::bytea[], $3::bigint[], $4::smallint[], $5::bytea[], $6::bigint[]) \
                   AS a(key, owner, fence, omitted, value, retention)), \
                 held AS MATERIALIZED (\
                   SELECT a.*, r.watched, {NOW} AS now FROM asked a JOIN {t} r ON r.key = a.key \
                   WHERE r.state = 'P' AND r.owner = a.owner AND r.fence = a.fence \
                   ORDER BY a.key FOR NO KEY UPDATE OF r SKIP LOCKED), \
                 done AS (\
                   UPDATE {t} r SET state = 'C', completed_at = h.now, forgotten_at = h.now + h.retention, \
                     omitted = h.omitted, value = h.value, prior_attempt = NULL, prior_fence = NULL, \
                     prior_ended_at = NULL, prior_told = NULL, prior_forgotten_at = NULL, watched = false \
                   FROM held h WHERE r.key = h.key AND r.state = 'P' AND r.owner = h.owner AND r.fence = h.fence \
                     AND r.forgotten_at > h.now RETURNING r.key, h.watched AS was_watched) \
                 SELECT key, CASE WHEN was_watched THEN pg_notify('{channel}', key) END FROM done",
            ),
            extend: format!(
                "UPDATE {t} r SET lease_until = t.now + $4, confirmed = true, \
                   forgotten_at = greatest(t.now + $4 + r.unknown_retention, r.prior_forgotten_at) \
                 FROM (SELECT {NOW} AS now) t \
                 WHERE r.key = $1 AND r.state = 'P' AND r.owner = $2 AND r.fence = $3 AND r.forgotten_at > t.now"
            ),
            change: format!(
                "WITH free AS (SELECT pg_try_advisory_xact_lock_shared({LOCK1}) AS free), \
                 changed AS (UPDATE {t} r SET {SETS}, watched = false FROM {t} before \
                   WHERE before.key = r.key AND r.key = $1 AND r.xmin::text = $2 AND (SELECT free FROM free) \
                   RETURNING before.watched AS was_watched), \
                 told AS (SELECT pg_notify('{channel}', $1) FROM changed WHERE was_watched) \
                 SELECT free, (SELECT count(*) FROM changed) AS changed, (SELECT count(*) FROM told) AS told FROM free"
            ),
            watch: format!(
                "WITH watched AS (UPDATE {t} SET watched = true WHERE key = $1 AND state = 'P' AND NOT watched) \
                 SELECT FROM {t} WHERE key = $1 AND state = 'P'"
            ),
            purge: format!(
                "WITH due AS (SELECT key FROM {t} WHERE look_at <= $1 ORDER BY look_at LIMIT $2 \
                   FOR UPDATE SKIP LOCKED), \
                 gone AS (DELETE FROM {t} r USING due WHERE r.key = due.key AND r.forgotten_at <= $1 RETURNING r.key), \
                 later AS (UPDATE {t} r SET look_at = r.forgotten_at FROM due \
                   WHERE r.key = due.key AND r.forgotten_at > $1 RETURNING r.key) \
                 SELECT (SELECT count(*) FROM gone) AS gone, (SELECT count(*) FROM later) AS later"
            ),
            stats: format!(
                "SELECT state::text AS state, confirmed, lease_until > $1 AS live, prior_attempt IS NOT NULL AS has_prior, \
                   forgotten_at > $1 AS known, count(*) AS count, min(acquired_at) AS oldest \
                 FROM {t} GROUP BY 1, 2, 3, 4, 5"
            ),
            list: format!(
                "SELECT {NOW} AS now, {COLUMNS} FROM {t} r WHERE r.key > $1 AND r.forgotten_at > $2 \
                 ORDER BY r.key LIMIT $3"
            ),
            channel,
        }
    }
}

/// What a key is locked by while somebody's transaction decides it.
const LOCK: &str = "hashtextextended(a.key, 0)";
const LOCK1: &str = "hashtextextended($1, 0)";
