CREATE SEQUENCE {schema}."{table}_fences" AS bigint;

CREATE TABLE {schema}."{table}" (
  key text COLLATE "C" PRIMARY KEY,
  -- The whole text of a key that is too long to be one: the key is its digest then.
  long_key text,
  owner bytea NOT NULL,
  fingerprint bytea NOT NULL,
  fence bigint NOT NULL,
  attempt bigint NOT NULL,
  -- Times in µs since 1970, durations in µs: see the view for dates.
  acquired_at bigint NOT NULL,
  lease_until bigint NOT NULL,
  completed_at bigint NOT NULL,
  forgotten_at bigint NOT NULL,
  retention bigint NOT NULL,
  unknown_retention bigint NOT NULL,
  -- When a purge looks at the row. Completing does not change it, so that it changes no index.
  look_at bigint NOT NULL,
  prior_attempt bigint,
  prior_fence bigint,
  prior_ended_at bigint,
  prior_forgotten_at bigint,
  on_unknown smallint NOT NULL,
  fingerprint_version smallint NOT NULL,
  omitted smallint NOT NULL DEFAULT 0,
  state "char" NOT NULL CHECK (state IN ('P', 'U', 'R', 'C')),
  confirmed boolean NOT NULL,
  prior_told boolean,
  -- Somebody waits to be told when the attempt ends.
  watched boolean NOT NULL DEFAULT false,
  trace_parent text,
  correlation_id text,
  attributes jsonb,
  value bytea
) WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.05);

CREATE INDEX "{table}_look_at" ON {schema}."{table}" (look_at);

-- A result that was kept as JSON; of any other, nothing. Around it stand `iv`, a version, and the names of
-- codec and type, each after its length; and a checksum of four bytes.
CREATE FUNCTION {schema}."{table}_json"(value bytea) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  codec integer;
  type integer;
BEGIN
  codec := get_byte(value, 3);
  type := get_byte(value, 4 + codec);
  IF substring(value FROM 1 FOR 3) <> decode('697601', 'hex') OR substring(value FROM 5 FOR codec) <> 'json'::bytea THEN
    RETURN NULL;
  END IF;
  RETURN convert_from(substring(value FROM 6 + codec + type FOR length(value) - 9 - codec - type), 'UTF8')::jsonb;
EXCEPTION WHEN others THEN
  -- Damaged, or with what jsonb does not take, such as the character 0.
  RETURN NULL;
END $$;

-- For people: what the rows mean, as of now.
CREATE VIEW {schema}."{table}_readable" AS
SELECT
  nullif(split_part(coalesce(long_key, key), '/', 1), '') AS scope,
  split_part(coalesce(long_key, key), '/', 2) AS operation,
  array_to_string((string_to_array(coalesce(long_key, key), '/'))[3:], '/') AS id,
  CASE
    WHEN forgotten_at <= extract(epoch FROM clock_timestamp()) * 1000000 THEN 'expired'
    WHEN state = 'C' THEN 'completed'
    WHEN state = 'R' THEN 'released'
    WHEN state = 'U' THEN 'unknown'
    WHEN lease_until > extract(epoch FROM clock_timestamp()) * 1000000 THEN 'in progress'
    WHEN confirmed OR prior_attempt IS NOT NULL THEN 'unknown'
    ELSE 'released'
  END AS state,
  attempt,
  fence,
  to_timestamp(acquired_at / 1000000.0) AS acquired_at,
  CASE WHEN state = 'P' THEN to_timestamp(lease_until / 1000000.0) END AS lease_until,
  CASE WHEN state = 'C' THEN to_timestamp(completed_at / 1000000.0) END AS completed_at,
  to_timestamp(forgotten_at / 1000000.0) AS forgotten_at,
  correlation_id,
  trace_parent,
  attributes,
  octet_length(value) AS value_bytes,
  {schema}."{table}_json"(value) AS result
FROM {schema}."{table}";
