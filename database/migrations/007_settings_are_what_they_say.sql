-- What is called encrypted is ciphertext, and the flag and the type agree.
--
-- Locks: configuration_settings, which is small, for the time of reading it.
SET LOCAL lock_timeout = '1s';

ALTER TABLE configuration_settings
    ADD CONSTRAINT configuration_settings_encrypted_check CHECK (
        (is_encrypted IS TRUE) = (setting_type = 'encrypted')
        AND (is_encrypted IS NOT TRUE
             OR setting_value #>> '{}' LIKE '-----BEGIN PGP MESSAGE-----%')) NOT VALID;
