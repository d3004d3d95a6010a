BEGIN;
SELECT pg_advisory_xact_lock(hashtextextended('booking: tables', 0));
DO $tables$ BEGIN
-- Not even `CREATE INDEX IF NOT EXISTS` where they are there: it holds off those who write to its table all the same,
-- and two of them end in a deadlock with a job of another process.
IF to_regclass('booking_executions') IS NULL THEN
    -- Milliseconds since 1970, by the server's clock alone: the processes' own may differ.
    CREATE FUNCTION booking_now() RETURNS bigint LANGUAGE sql VOLATILE
        AS 'SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint';
    CREATE TABLE booking_events (
        event_id text PRIMARY KEY,
        capacity bigint NOT NULL,
        locked bigint NOT NULL DEFAULT 0 CHECK (locked >= 0),
        booked bigint NOT NULL DEFAULT 0 CHECK (booked >= 0),
        -- Never oversold, whatever a program may do.
        CHECK (locked + booked <= capacity)
    );
    CREATE TABLE booking_reservations (
        id text PRIMARY KEY,
        event_id text NOT NULL REFERENCES booking_events,
        user_id text NOT NULL,
        seats bigint NOT NULL CHECK (seats > 0),
        state text NOT NULL,
        expires_at bigint NOT NULL,
        locked_by text NOT NULL,
        booked_by text,
        payment_key text,
        payment_fence bigint,
        payment_amount bigint,
        transaction_id text UNIQUE
    );
    CREATE INDEX booking_reservations_over ON booking_reservations (expires_at)
        WHERE state IN ('LOCKED', 'PAYMENT_PENDING', 'PAYING');
    CREATE TABLE booking_audit (
        number bigserial PRIMARY KEY,
        booking_id text,
        entry jsonb NOT NULL
    );
    CREATE INDEX booking_audit_of_booking ON booking_audit (booking_id);
    CREATE TABLE booking_executions (
        execution_id text PRIMARY KEY,
        job_type text NOT NULL,
        status text NOT NULL,
        started_at bigint NOT NULL,
        completed_at bigint,
        processed bigint NOT NULL DEFAULT 0,
        errors bigint NOT NULL DEFAULT 0,
        details text NOT NULL DEFAULT '',
        correlation_id text NOT NULL
    );
    -- Never two runs of a job at once, whatever a program may do.
    CREATE UNIQUE INDEX booking_executions_running ON booking_executions (job_type) WHERE status = 'running';
END IF;
END $tables$;
COMMIT;
