-- The audit log: how a change is recorded, sealed and verified (docs/decisions/0021).
--
-- The functions without a search_path of their own are called by those that pin it, for each audited
-- statement, where every setting costs.

-- Added to an hour (since 1970) it is the first key of that hour's advisory locks.
CREATE OR REPLACE FUNCTION audit_lock_class() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT 1635000000 $$;

-- The client's address as the API gives it; a malformed one must not keep a change from being made.
CREATE OR REPLACE FUNCTION audit_client_address() RETURNS inet
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN current_setting('app.client_address')::inet;
EXCEPTION WHEN invalid_text_representation THEN
    RETURN inet_client_addr();
END
$$;

-- Who changes something, from where and when: the end of each audit row. Where no user is set, it is
-- the one who logged in.
--
-- Also marks, until the transaction ends, that it writes audit rows of this hour: an hour is sealed only
-- when nobody does any more. The clock is read after the mark, for a row's time must not lie in an hour
-- that was sealed while its writer waited. Everybody who logs in may take advisory locks, so each
-- transaction has a key of its own and never waits for it: somebody else's lock can put a seal off, and
-- nobody's work.
CREATE OR REPLACE FUNCTION audit_circumstances(
    OUT user_id varchar, OUT session_id varchar, OUT ip_address inet, OUT user_agent text,
    OUT "timestamp" timestamptz, OUT metadata jsonb)
LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    transaction_id CONSTANT bigint := pg_current_xact_id()::text;
    hour integer;
BEGIN
    user_id := left(coalesce(nullif(current_setting('app.current_user_id', true), ''), session_user), 255);
    session_id := left(nullif(current_setting('app.session_id', true), ''), 255);
    ip_address := CASE WHEN coalesce(current_setting('app.client_address', true), '') = ''
                       THEN inet_client_addr() ELSE audit_client_address() END;
    user_agent := nullif(current_setting('app.user_agent', true), '');
    metadata := jsonb_strip_nulls(jsonb_build_object(
        'api_key_id', nullif(current_setting('app.api_key_id', true), ''),
        'request_id', nullif(current_setting('app.request_id', true), ''),
        'database_user', session_user,
        'transaction', transaction_id::text));
    LOOP
        hour := floor(extract(epoch FROM clock_timestamp()) / 3600);
        PERFORM pg_try_advisory_xact_lock_shared(
            audit_lock_class() + hour, (transaction_id & 2147483647)::integer);
        "timestamp" := clock_timestamp();
        EXIT WHEN floor(extract(epoch FROM "timestamp") / 3600) = hour;
    END LOOP;
END
$$;

-- Puts "[redacted]" in place of those of the named columns that have a value. A setting's value is
-- secret only when the setting says so, before or after.
CREATE OR REPLACE FUNCTION audit_redact(
    row_values jsonb, secret_columns text[], row_before jsonb, row_after jsonb) RETURNS jsonb
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT row_values || coalesce(
        (SELECT jsonb_object_agg(secret_column, '[redacted]'::text)
         FROM unnest(secret_columns) secret_column
         WHERE jsonb_typeof(row_values -> secret_column) <> 'null'
           AND (NOT row_after ? 'is_sensitive'
                OR 'true' IN (row_before ->> 'is_encrypted', row_before ->> 'is_sensitive',
                              row_after ->> 'is_encrypted', row_after ->> 'is_sensitive'))), '{}')
$$;

-- 32 bytes that stand for an audit row: its id, and half of a SHA-256 of everything in it. Written so
-- that no setting of the session and no version of PostgreSQL changes it.
CREATE OR REPLACE FUNCTION audit_row_digest(audit_logs) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT uuid_send($1.id) || substring(sha256(convert_to(jsonb_build_array(
        $1.entity_type, $1.entity_id, $1.action, $1.old_values, $1.new_values, $1.user_id,
        $1.session_id, $1.ip_address::text, $1.user_agent,
        CASE WHEN isfinite($1."timestamp")
             THEN (extract(epoch FROM $1."timestamp") * 1000000)::bigint END, $1.metadata)::text, 'UTF8'))
        FROM 1 FOR 16)
$$;

-- The link of a chain: a SHA-256 over the seal and the link before it.
CREATE OR REPLACE FUNCTION audit_seal_digest(audit_seals) RETURNS bytea
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT sha256(convert_to(jsonb_build_array(
        $1.number, $1.kind,
        CASE WHEN isfinite($1.period_start)
             THEN (extract(epoch FROM $1.period_start) * 1000000)::bigint END,
        (extract(epoch FROM $1.period_end) * 1000000)::bigint,
        $1.row_count, encode($1.rows_digest, 'hex'), encode($1.previous_digest, 'hex'))::text, 'UTF8'))
$$;

-- Adds a link to the chain.
CREATE OR REPLACE FUNCTION append_audit_seal(
    seal_kind text, period_start timestamptz, period_end timestamptz, row_count bigint,
    row_digests bytea) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    seal audit_seals;
BEGIN
    SELECT number + 1, digest INTO seal.number, seal.previous_digest
    FROM audit_seals ORDER BY number DESC LIMIT 1;
    seal.number := coalesce(seal.number, 1);
    seal.previous_digest := coalesce(seal.previous_digest, sha256(''));
    seal.kind := seal_kind;
    seal.period_start := period_start;
    seal.period_end := period_end;
    seal.row_count := row_count;
    seal.row_digests := row_digests;
    seal.rows_digest := sha256(coalesce(row_digests, ''));
    seal.digest := audit_seal_digest(seal);
    seal.sealed_at := clock_timestamp();
    INSERT INTO audit_seals SELECT seal.*;
    RETURN seal.number;
END
$$;

-- The transactions of others that have marked an hour as theirs to write (audit_circumstances).
CREATE OR REPLACE FUNCTION audit_writers() RETURNS TABLE (hour bigint, transaction text)
LANGUAGE sql VOLATILE AS $$
    SELECT classid::bigint - audit_lock_class(), virtualtransaction
    FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
      -- Hours up to the year 2084.
      AND classid::bigint BETWEEN audit_lock_class() AND audit_lock_class() + 999999
      -- A prepared transaction has no process.
      AND pid IS DISTINCT FROM pg_backend_pid()
$$;

-- Seals every hour of the audit log that has ended and that nobody writes any more, and returns how
-- many rows that were. With `including_now`, everything up to this moment: it then waits, for half a
-- minute at most, until those who are writing have ended.
CREATE OR REPLACE FUNCTION seal_audit_log(including_now boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    -- Clocks of two servers differ: after a failover an hour is not over at once.
    margin CONSTANT interval := '1 minute';
    patience CONSTANT interval := '30 seconds';
    sealed_until timestamptz;
    seal_until timestamptz;
    writers text[];
    hour record;
    sealed_rows bigint := 0;
BEGIN
    -- The rows must be looked at after the marks of their writers.
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'the audit log is sealed under READ COMMITTED only'
            USING ERRCODE = 'invalid_transaction_state';
    END IF;
    -- One at a time.
    LOCK TABLE audit_seals IN SHARE ROW EXCLUSIVE MODE;
    IF including_now THEN
        seal_until := clock_timestamp();
        -- Whoever read the clock before that has a mark now.
        SELECT coalesce(array_agg(transaction), '{}') INTO writers FROM audit_writers();
        WHILE EXISTS (SELECT FROM audit_writers() WHERE transaction = ANY (writers)) LOOP
            IF clock_timestamp() > seal_until + patience THEN
                RAISE EXCEPTION 'the audit log is still being written by transactions that are older than %', patience
                    USING ERRCODE = 'lock_not_available';
            END IF;
            PERFORM pg_sleep(0.01);
        END LOOP;
    ELSE
        seal_until := to_timestamp(floor(extract(epoch FROM clock_timestamp() - margin) / 3600) * 3600);
        seal_until := least(seal_until, (SELECT to_timestamp(min(audit_writers.hour) * 3600) FROM audit_writers()));
    END IF;

    SELECT coalesce(max(period_end), '-infinity') INTO sealed_until FROM audit_seals;
    IF seal_until <= sealed_until THEN
        RETURN 0;
    END IF;

    -- Each seal begins where the one before ends, so that nothing can be added in between.
    -- What is older than 1970, or of no time at all as in a database made by hand, goes into one.
    FOR hour IN
        SELECT to_timestamp((floor(extract(epoch FROM greatest("timestamp", to_timestamp(0))) / 3600) + 1)
                            * 3600) AS ends_at,
               count(*) AS row_count,
               string_agg(audit_row_digest(log), '' ORDER BY "timestamp", id) AS row_digests
        FROM audit_logs log
        WHERE "timestamp" >= sealed_until AND "timestamp" < seal_until
        GROUP BY 1
        ORDER BY 1
    LOOP
        PERFORM append_audit_seal('rows', sealed_until, least(hour.ends_at, seal_until),
                                  hour.row_count, hour.row_digests);
        sealed_until := least(hour.ends_at, seal_until);
        sealed_rows := sealed_rows + hour.row_count;
    END LOOP;
    IF sealed_until < seal_until THEN
        PERFORM append_audit_seal('rows', sealed_until, seal_until, 0, '');
    END IF;
    RETURN sealed_rows;
END
$$;

-- The last link of the chain. Kept elsewhere, as with a backup, it shows later that nobody rewrote the
-- whole chain: `verify_audit_log` looks for it.
CREATE OR REPLACE FUNCTION audit_chain_head() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT encode(digest, 'hex') FROM audit_seals ORDER BY number DESC LIMIT 1
$$;

-- Compares the audit log with its seals and names the first thing that is wrong: a row that was
-- altered, is missing or was added, or a seal. Rows that retention removed are accepted, for it left
-- their digest in the chain. Rows newer than the last seal are only counted.
CREATE OR REPLACE FUNCTION verify_audit_log(known_head text DEFAULT NULL)
RETURNS TABLE (intact boolean, problem text, row_id uuid, seal_number bigint, message text,
               rows_verified bigint, rows_removed bigint, rows_not_sealed bigint)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp SET timezone = 'UTC' AS $$
DECLARE
    seal audit_seals;
    -- sha256('') begins the chain.
    previous_digest bytea := sha256('');
    expected_number bigint := 1;
    head_seen boolean := known_head IS NULL;
    removed_until timestamptz;
    -- As far as the retention seals that were looked at go, and how many rows were sealed there.
    accounted_until timestamptz := '-infinity';
    sealed_count bigint;
    covered_until timestamptz := '-infinity';
    found_digests bytea;
    wrong record;
BEGIN
    intact := false;
    rows_verified := 0;
    rows_removed := 0;
    SELECT coalesce(max(period_end), '-infinity') INTO removed_until
    FROM audit_seals WHERE kind = 'retention';

    FOR seal IN SELECT * FROM audit_seals ORDER BY number LOOP
        seal_number := seal.number;
        IF seal.number <> expected_number THEN
            problem := 'seal missing';
            message := format('seal %s is missing', expected_number);
            seal_number := expected_number;
            RETURN NEXT;
            RETURN;
        END IF;
        IF seal.previous_digest <> previous_digest OR seal.digest <> audit_seal_digest(seal)
           OR seal.kind = 'rows' AND (seal.period_start <> covered_until
               OR seal.row_digests IS NULL AND seal.period_end > removed_until
               OR seal.row_digests IS NOT NULL AND sha256(seal.row_digests) <> seal.rows_digest) THEN
            problem := 'seal altered';
            message := format('seal %s of %s to %s was altered', seal.number, seal.period_start,
                              seal.period_end);
            RETURN NEXT;
            RETURN;
        END IF;
        head_seen := head_seen OR encode(seal.digest, 'hex') = lower(known_head);

        -- Nobody hides behind retention what was taken away, or slipped in, before.
        IF seal.kind = 'retention' THEN
            SELECT coalesce(sum(row_count), 0) INTO sealed_count
            FROM audit_seals
            WHERE kind = 'rows' AND number < seal.number
              AND period_end > accounted_until AND period_end <= seal.period_end;
            IF seal.row_count <> sealed_count THEN
                problem := CASE WHEN seal.row_count < sealed_count THEN 'row missing' ELSE 'row added' END;
                message := format('%s: retention found %s rows up to %s where %s were sealed, seal %s',
                                  problem, seal.row_count, seal.period_end, sealed_count, seal.number);
                RETURN NEXT;
                RETURN;
            END IF;
            accounted_until := greatest(accounted_until, seal.period_end);
        END IF;

        IF seal.kind = 'rows' AND seal.period_end <= removed_until THEN
            rows_removed := rows_removed + seal.row_count;
        ELSIF seal.kind = 'rows' THEN
            SELECT coalesce(string_agg(audit_row_digest(log), '' ORDER BY "timestamp", id), '')
            INTO found_digests
            FROM audit_logs log
            WHERE "timestamp" >= seal.period_start AND "timestamp" < seal.period_end;
            IF found_digests <> seal.row_digests THEN
                SELECT coalesce(expected.id, found.id) AS id,
                       CASE WHEN found.id IS NULL THEN 'row missing'
                            WHEN expected.id IS NULL THEN 'row added'
                            ELSE 'row altered' END AS problem
                INTO wrong
                FROM audit_digest_entries(seal.row_digests) expected
                FULL JOIN audit_digest_entries(found_digests) found ON found.id = expected.id
                WHERE found.digest IS DISTINCT FROM expected.digest
                ORDER BY coalesce(expected.place, found.place), found.place NULLS FIRST
                LIMIT 1;
                problem := coalesce(wrong.problem, 'rows reordered');
                row_id := wrong.id;
                message := format('%s: %s, in the period %s to %s of seal %s', problem, wrong.id,
                                  seal.period_start, seal.period_end, seal.number);
                RETURN NEXT;
                RETURN;
            END IF;
            rows_verified := rows_verified + seal.row_count;
        END IF;
        IF seal.kind = 'rows' THEN
            covered_until := seal.period_end;
        END IF;
        previous_digest := seal.digest;
        expected_number := expected_number + 1;
    END LOOP;

    seal_number := NULL;
    IF NOT head_seen THEN
        problem := 'chain replaced';
        message := 'the chain does not contain the known head';
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT id, "timestamp" INTO wrong
    FROM audit_logs WHERE "timestamp" < removed_until ORDER BY "timestamp", id LIMIT 1;
    IF FOUND THEN
        problem := 'row added';
        row_id := wrong.id;
        message := format('row added: %s at %s, before %s, up to which retention removed every row',
                          wrong.id, wrong."timestamp", removed_until);
        RETURN NEXT;
        RETURN;
    END IF;
    SELECT count(*) INTO rows_not_sealed FROM audit_logs WHERE "timestamp" >= covered_until;
    intact := true;
    message := format('%s rows are as they were sealed, %s were removed by retention, %s are not sealed yet',
                      rows_verified, rows_removed, rows_not_sealed);
    RETURN NEXT;
END
$$;

-- The entries that audit_row_digest made, apart again.
CREATE OR REPLACE FUNCTION audit_digest_entries(digests bytea)
RETURNS TABLE (place bigint, id uuid, digest bytea)
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT entry, encode(substring(digests FROM (entry * 32 + 1)::integer FOR 16), 'hex')::uuid,
           substring(digests FROM (entry * 32 + 17)::integer FOR 16)
    FROM generate_series(0::bigint, length(digests) / 32 - 1) AS entry
$$;
