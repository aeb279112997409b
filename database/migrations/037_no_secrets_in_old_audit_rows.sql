-- ctm: no-transaction
-- Takes key hashes and secret settings out of the audit rows that a database made by hand has copied
-- them into, where readonly_users could read them. That the column changed stays visible.
--
-- Locks: those rows only. Can be run again at any point.
DO $$
DECLARE
    secret record;
BEGIN
    FOR secret IN
        SELECT * FROM (VALUES ('api_key', 'key_hash', NULL), ('api_keys', 'key_hash', NULL),
                              ('webhook_event', 'headers', NULL), ('webhook_events', 'headers', NULL),
                              ('webhook_event', 'signature', NULL), ('webhook_events', 'signature', NULL),
                              ('configuration_setting', 'setting_value', 'secret'),
                              ('configuration_settings', 'setting_value', 'secret')
                      ) AS secrets (entity_type, column_name, condition)
    LOOP
        UPDATE audit_logs SET
            old_values = CASE WHEN old_values ? secret.column_name
                THEN jsonb_set(old_values, ARRAY[secret.column_name], '"[redacted]"')
                ELSE old_values END,
            new_values = CASE WHEN new_values ? secret.column_name
                THEN jsonb_set(new_values, ARRAY[secret.column_name], '"[redacted]"')
                ELSE new_values END
        WHERE entity_type = secret.entity_type
          AND (old_values ? secret.column_name OR new_values ? secret.column_name)
          AND (secret.condition IS NULL
               OR 'true' IN (old_values ->> 'is_encrypted', old_values ->> 'is_sensitive',
                             new_values ->> 'is_encrypted', new_values ->> 'is_sensitive'));
        COMMIT;
    END LOOP;
END
$$;
