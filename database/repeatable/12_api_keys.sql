-- API keys: made, changed and found only through these functions. The key itself is answered once and
-- stored nowhere; the table has its SHA-256.

-- Earlier versions of a function with other arguments or another answer go.
DO $$
DECLARE
    old_function regprocedure;
BEGIN
    FOR old_function IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND proname = 'generate_api_key'
          AND pg_get_function_identity_arguments(oid) <>
              'p_key_name character varying, p_user_id character varying, p_permissions jsonb,'
              ' p_rate_limit_per_hour integer, p_expires_days integer, p_rate_limit_per_day integer,'
              ' p_allowed_ips jsonb, p_allowed_endpoints jsonb, p_metadata jsonb'
    LOOP
        EXECUTE format('DROP FUNCTION %s', old_function);
    END LOOP;
END
$$;

-- Makes a key and answers it, once. A null limit or expiry means the default of
-- configuration_settings. Runs as whoever calls it, and only the owner may insert into api_keys.
CREATE OR REPLACE FUNCTION generate_api_key(
    p_key_name varchar,
    p_user_id varchar,
    p_permissions jsonb DEFAULT '[]',
    p_rate_limit_per_hour integer DEFAULT NULL,
    p_expires_days integer DEFAULT NULL,
    p_rate_limit_per_day integer DEFAULT NULL,
    p_allowed_ips jsonb DEFAULT '[]',
    p_allowed_endpoints jsonb DEFAULT '[]',
    p_metadata jsonb DEFAULT '{}')
RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    new_key CONSTANT text := 'ctm_' || encode(gen_random_bytes(32), 'hex');
    expires_days CONSTANT integer := coalesce(
        p_expires_days, numeric_setting('security.api_key_expiry_days', 365)::integer);
BEGIN
    IF coalesce(btrim(p_key_name), '') = '' OR coalesce(btrim(p_user_id), '') = '' THEN
        RAISE EXCEPTION 'an API key needs a name and a user'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF expires_days <= 0 THEN
        RAISE EXCEPTION 'an API key must be valid for at least a day, not %', expires_days
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM check_api_key_lists(p_permissions, p_allowed_ips, p_allowed_endpoints);
    RETURN QUERY
    INSERT INTO api_keys AS made (key_name, key_hash, key_prefix, user_id, permissions,
                                  rate_limit_per_hour, rate_limit_per_day, allowed_ips,
                                  allowed_endpoints, expires_at, metadata)
    VALUES (p_key_name, encode(sha256(convert_to(new_key, 'UTF8')), 'hex'), left(new_key, 20),
            p_user_id, p_permissions,
            coalesce(p_rate_limit_per_hour,
                     numeric_setting('api.rate_limit.default_per_hour', 1000)::integer),
            coalesce(p_rate_limit_per_day,
                     numeric_setting('api.rate_limit.default_per_day', 10000)::integer),
            p_allowed_ips, p_allowed_endpoints, now() + make_interval(days => expires_days),
            p_metadata)
    RETURNING made.id, new_key;
END
$$;

-- Refuses lists that the API could not enforce: a mistyped permission or address must not become a
-- key that may less, or more, than was meant.
CREATE OR REPLACE FUNCTION check_api_key_lists(permissions jsonb, allowed_ips jsonb, allowed_endpoints jsonb)
RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    entry text;
BEGIN
    IF jsonb_typeof(permissions) IS DISTINCT FROM 'array'
       OR jsonb_typeof(allowed_ips) IS DISTINCT FROM 'array'
       OR jsonb_typeof(allowed_endpoints) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION 'permissions, allowed_ips and allowed_endpoints are lists'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    FOR entry IN SELECT jsonb_array_elements_text(permissions) LOOP
        IF entry IS NULL OR entry NOT IN ('read:tasks', 'write:tasks', 'read:metrics', 'admin') THEN
            RAISE EXCEPTION 'there is no permission %', coalesce(quote_literal(entry), 'null')
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'The permissions are read:tasks, write:tasks, read:metrics and admin.';
        END IF;
    END LOOP;
    FOR entry IN SELECT jsonb_array_elements_text(allowed_ips) LOOP
        BEGIN
            PERFORM entry::inet;
            IF entry IS NULL THEN
                RAISE invalid_text_representation;
            END IF;
        EXCEPTION WHEN invalid_text_representation THEN
            RAISE EXCEPTION '% is no address or network', coalesce(quote_literal(entry), 'null')
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Write 203.0.113.7, 203.0.113.0/24 or 2001:db8::/32.';
        END;
    END LOOP;
    FOR entry IN SELECT jsonb_array_elements_text(allowed_endpoints) LOOP
        IF coalesce(entry, '') = '' THEN
            RAISE EXCEPTION 'an allowed endpoint is empty' USING ERRCODE = 'invalid_parameter_value';
        END IF;
    END LOOP;
END
$$;

-- A number from configuration_settings, or the fallback where there is none. Sees what its caller may.
CREATE OR REPLACE FUNCTION numeric_setting(name text, fallback numeric) RETURNS numeric
LANGUAGE sql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT coalesce(
        (SELECT (setting_value #>> '{}')::numeric
         FROM configuration_settings
         WHERE setting_key = name AND is_encrypted IS NOT TRUE
           AND (jsonb_typeof(setting_value) = 'number'
                OR setting_value #>> '{}' ~ '^-?[0-9]+(\.[0-9]+)?$')),
        fallback)
$$;

-- Replaces a key by a new one with the same rights, which is answered once. The old one works for the
-- overlap, so that clients can change over, and not longer than it would have.
CREATE OR REPLACE FUNCTION rotate_api_key(p_api_key_id uuid, p_overlap interval DEFAULT interval '0')
RETURNS TABLE (id uuid, key text)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    new_key CONSTANT text := 'ctm_' || encode(gen_random_bytes(32), 'hex');
    old_key api_keys;
BEGIN
    IF p_overlap < interval '0' THEN
        RAISE EXCEPTION 'the overlap cannot be negative' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT * INTO old_key FROM api_keys WHERE api_keys.id = p_api_key_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no API key %', p_api_key_id USING ERRCODE = 'no_data_found';
    END IF;
    IF old_key.is_active IS NOT TRUE OR old_key.expires_at <= now() THEN
        RAISE EXCEPTION 'API key % is revoked or expired', p_api_key_id
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Make a new one.';
    END IF;
    RETURN QUERY
    INSERT INTO api_keys AS made (key_name, key_hash, key_prefix, user_id, permissions,
                                  rate_limit_per_hour, rate_limit_per_day, allowed_ips,
                                  allowed_endpoints, expires_at, metadata)
    VALUES (old_key.key_name, encode(sha256(convert_to(new_key, 'UTF8')), 'hex'), left(new_key, 20),
            old_key.user_id, old_key.permissions, old_key.rate_limit_per_hour,
            old_key.rate_limit_per_day, old_key.allowed_ips, old_key.allowed_endpoints,
            -- As long again as the old one was made for.
            now() + (old_key.expires_at - old_key.created_at),
            coalesce(old_key.metadata, '{}') || jsonb_build_object('replaces', old_key.id))
    RETURNING made.id, new_key;
    UPDATE api_keys SET
        expires_at = least(expires_at, now() + p_overlap),
        is_active = p_overlap > interval '0'
    WHERE api_keys.id = p_api_key_id;
END
$$;

-- Ends a key at once. Answers whether it was active.
CREATE OR REPLACE FUNCTION revoke_api_key(p_api_key_id uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    was_active boolean;
BEGIN
    SELECT is_active INTO was_active FROM api_keys WHERE api_keys.id = p_api_key_id FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'there is no API key %', p_api_key_id USING ERRCODE = 'no_data_found';
    END IF;
    UPDATE api_keys SET is_active = false WHERE api_keys.id = p_api_key_id AND is_active IS NOT FALSE;
    RETURN coalesce(was_active, false);
END
$$;

-- The two functions that see every key belong to ctm_key_lookup, which is no login and may do nothing
-- else (policies in 40_policies.sql). Taking a function over needs CREATE on the schema, which the
-- role has for this transaction only.
GRANT CREATE ON SCHEMA public TO ctm_key_lookup;

-- The keys that begin so: the API compares their hashes with that of the key it was given.
CREATE OR REPLACE FUNCTION find_api_key(presented_prefix text)
RETURNS TABLE (id uuid, key_hash varchar, key_name varchar, user_id varchar, permissions jsonb,
               rate_limit_per_hour integer, rate_limit_per_day integer, allowed_ips jsonb,
               allowed_endpoints jsonb, expires_at timestamptz, is_active boolean)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
    SELECT id, key_hash, key_name, user_id, permissions, rate_limit_per_hour, rate_limit_per_day,
           allowed_ips, allowed_endpoints, expires_at, is_active
    FROM api_keys
    -- Shorter would be a way to list them.
    WHERE key_prefix = presented_prefix AND length(presented_prefix) = 20
$$;

-- Counts uses: element i of each array is one key's. Times only move forward.
CREATE OR REPLACE FUNCTION record_api_key_usage(
    api_key_ids uuid[], use_counts integer[], used_at timestamptz[]) RETURNS void
LANGUAGE sql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
    UPDATE api_keys SET
        -- A counter that is full stays full.
        usage_count = least(coalesce(usage_count, 0)::bigint + used.uses, 2147483647)::integer,
        last_used_at = greatest(last_used_at, used.last_used)
    FROM (SELECT id, sum(greatest(uses, 0)) AS uses, max(least(moment, now())) AS last_used
          FROM unnest(api_key_ids, use_counts, used_at) AS one (id, uses, moment)
          GROUP BY id) used
    WHERE api_keys.id = used.id
$$;

ALTER FUNCTION find_api_key(text) OWNER TO ctm_key_lookup;
ALTER FUNCTION record_api_key_usage(uuid[], integer[], timestamptz[]) OWNER TO ctm_key_lookup;
REVOKE CREATE ON SCHEMA public FROM ctm_key_lookup;
