-- Encrypted settings. The key is an argument, so a bind parameter, of each call; it is kept outside the
-- database, and no setting of the session ever holds it. What is encrypted contains the name of its
-- setting, so that a ciphertext moved to another setting does not decrypt there.

CREATE OR REPLACE FUNCTION set_encrypted_setting(
    p_setting_key varchar, p_value jsonb, p_encryption_key text,
    p_environment varchar DEFAULT NULL, p_description text DEFAULT NULL,
    p_updated_by varchar DEFAULT NULL) RETURNS uuid
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    written_id uuid;
BEGIN
    IF p_setting_key IS NULL OR p_value IS NULL THEN
        RAISE EXCEPTION 'an encrypted setting needs a name and a value'
            USING ERRCODE = 'null_value_not_allowed';
    END IF;
    INSERT INTO configuration_settings AS setting
        (setting_key, setting_value, setting_type, description, is_encrypted, is_sensitive,
         environment, updated_by)
    VALUES (p_setting_key, encrypt_setting(p_setting_key, p_value, p_encryption_key), 'encrypted',
            p_description, true, true, coalesce(p_environment, 'all'), p_updated_by)
    ON CONFLICT (setting_key) DO UPDATE SET
        setting_value = excluded.setting_value, setting_type = 'encrypted', is_encrypted = true,
        is_sensitive = true,
        description = coalesce(p_description, setting.description),
        environment = coalesce(p_environment, setting.environment),
        updated_by = p_updated_by
    RETURNING setting.id INTO written_id;
    RETURN written_id;
END
$$;

CREATE OR REPLACE FUNCTION encrypt_setting(p_setting_key varchar, p_value jsonb, p_encryption_key text)
RETURNS jsonb
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
BEGIN
    -- As many bits as the cipher has, in hex or better.
    IF length(p_encryption_key) < 32 OR p_encryption_key IS NULL THEN
        RAISE EXCEPTION 'the settings key is shorter than 32 characters'
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN to_jsonb(armor(pgp_sym_encrypt(
        jsonb_build_object('name', p_setting_key, 'value', p_value)::text, p_encryption_key,
        'cipher-algo=aes256')));
END
$$;

-- The value of an encrypted setting of this environment; null where there is no such setting. Whoever
-- may call it needs the key too.
CREATE OR REPLACE FUNCTION get_encrypted_setting(p_setting_key varchar, p_encryption_key text)
RETURNS jsonb
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    ciphertext text;
BEGIN
    SELECT setting_value #>> '{}' INTO ciphertext
    FROM configuration_settings
    WHERE setting_key = p_setting_key AND is_encrypted
      AND environment IN ('all', nullif(current_setting('app.current_environment', true), ''));
    IF ciphertext IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN decrypt_setting(p_setting_key, ciphertext, p_encryption_key);
END
$$;

CREATE OR REPLACE FUNCTION decrypt_setting(p_setting_key varchar, p_ciphertext text, p_encryption_key text)
RETURNS jsonb
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    content jsonb;
BEGIN
    BEGIN
        -- No key at all would decrypt to null.
        content := pgp_sym_decrypt(dearmor(p_ciphertext), coalesce(p_encryption_key, ''))::jsonb;
    -- Of its own words none is passed on: they may contain what was decrypted.
    EXCEPTION WHEN OTHERS THEN
        RAISE EXCEPTION 'setting % cannot be decrypted with this key', quote_literal(p_setting_key)
            USING ERRCODE = 'external_routine_invocation_exception';
    END;
    IF content ->> 'name' IS DISTINCT FROM p_setting_key THEN
        RAISE EXCEPTION 'the value of setting % belongs to another setting', quote_literal(p_setting_key)
            USING ERRCODE = 'data_corrupted';
    END IF;
    RETURN content -> 'value';
END
$$;

-- Encrypts every encrypted setting anew, all or none, and returns how many.
CREATE OR REPLACE FUNCTION rotate_encrypted_settings(p_old_key text, p_new_key text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, public, pg_temp AS $$
DECLARE
    setting record;
    rotated integer := 0;
BEGIN
    -- In a fixed order, so that two of these do not wait for each other.
    FOR setting IN
        SELECT id, setting_key, setting_value #>> '{}' AS ciphertext
        FROM configuration_settings WHERE is_encrypted ORDER BY setting_key FOR UPDATE
    LOOP
        UPDATE configuration_settings
        SET setting_value = encrypt_setting(
            setting.setting_key,
            decrypt_setting(setting.setting_key, setting.ciphertext, p_old_key), p_new_key)
        WHERE id = setting.id;
        rotated := rotated + 1;
    END LOOP;
    RETURN rotated;
END
$$;
