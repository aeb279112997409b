-- Locks: none that keeps readers or writers out.
ALTER TABLE configuration_settings
    VALIDATE CONSTRAINT configuration_settings_encrypted_check;
