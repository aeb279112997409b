-- What the files after this one stand on. Locks nothing that exists.
--
-- Uses of a key in a day fit an integer, which clients read as a number:
-- squawk-ignore-file prefer-bigint-over-int

-- A function is for those that it is granted to, not for everybody.
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- A version 7 UUID: 48 bits of milliseconds, then random bits. Rows written together lie together,
-- which random ids do not: 5 million log rows took 38.0 s with version 4 and 16.9 s with version 7,
-- and half the WAL (docs/decisions/0022). PostgreSQL has uuidv7() from 18 on only.
CREATE FUNCTION time_ordered_uuid() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                    PLACING substring(int8send(
                        (extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                    FROM 1 FOR 6),
            52, 1), 53, 1), 'hex')::uuid
$$;

-- The chain over closed periods of audit_logs (docs/decisions/0021).
CREATE TABLE audit_seals (
    number BIGINT PRIMARY KEY,
    kind TEXT NOT NULL,
    period_start TIMESTAMP WITH TIME ZONE NOT NULL,
    period_end TIMESTAMP WITH TIME ZONE NOT NULL,
    row_count BIGINT NOT NULL,
    rows_digest BYTEA NOT NULL,
    row_digests BYTEA,
    previous_digest BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    sealed_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    CONSTRAINT audit_seals_digest_key UNIQUE (digest),
    CONSTRAINT audit_seals_number_check CHECK (number > 0),
    CONSTRAINT audit_seals_kind_check CHECK (kind IN ('rows', 'retention')),
    CONSTRAINT audit_seals_period_check CHECK (period_start <= period_end),
    CONSTRAINT audit_seals_row_count_check CHECK (row_count >= 0),
    CONSTRAINT audit_seals_rows_digest_check CHECK (length(rows_digest) = 32),
    CONSTRAINT audit_seals_row_digests_check CHECK (length(row_digests) = row_count * 32),
    CONSTRAINT audit_seals_previous_digest_check CHECK (length(previous_digest) = 32),
    CONSTRAINT audit_seals_digest_check CHECK (length(digest) = 32)
);

-- One row. Whoever adds dependencies changes it first, so that two transactions cannot each add one
-- half of a cycle. An advisory lock would not do: under REPEATABLE READ the second one would look at
-- its old snapshot, while a changed row ends it with a serialization failure.
CREATE TABLE task_dependency_turn (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE,
    taken_by BIGINT NOT NULL DEFAULT 0,
    CONSTRAINT task_dependency_turn_only_row_check CHECK (only_row)
);
INSERT INTO task_dependency_turn DEFAULT VALUES;

-- The uses of each API key, in the current window and the one before; losing them in a crash forgives
-- some requests. No foreign key: it would lock the key's row at every request.
CREATE UNLOGGED TABLE api_rate_limits (
    api_key_id UUID NOT NULL,
    scope TEXT NOT NULL,
    short_window BIGINT NOT NULL,
    short_used INTEGER NOT NULL DEFAULT 0,
    short_before INTEGER NOT NULL DEFAULT 0,
    long_window BIGINT NOT NULL,
    long_used INTEGER NOT NULL DEFAULT 0,
    long_before INTEGER NOT NULL DEFAULT 0,
    updated_at TIMESTAMP WITH TIME ZONE NOT NULL DEFAULT NOW(),
    PRIMARY KEY (api_key_id, scope),
    CONSTRAINT api_rate_limits_scope_check CHECK (scope IN ('requests', 'query'))
) WITH (fillfactor = 50);
