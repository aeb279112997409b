-- A setting that calls itself encrypted and is not, as in a database made by hand, whose document
-- never says how to encrypt. Its value stays, hidden from everybody but the owner like any sensitive
-- one, until `set_encrypted_setting` replaces it. The server's notice names each.
DO $$
DECLARE
    marked text;
BEGIN
    FOR marked IN
        UPDATE configuration_settings
        SET is_encrypted = FALSE, is_sensitive = TRUE, setting_type = 'string'
        WHERE (is_encrypted OR setting_type = 'encrypted')
          AND coalesce(setting_value #>> '{}', '') NOT LIKE '-----BEGIN PGP MESSAGE-----%'
        RETURNING setting_key
    LOOP
        RAISE NOTICE 'setting % says that it is encrypted and is in clear: now marked sensitive', marked;
    END LOOP;
END
$$;
