-- red on: v2
-- Whoever set app.user_role was an administrator.
BEGIN;
SELECT plan(1);
INSERT INTO configuration_settings (setting_key, setting_value, setting_type, environment)
VALUES ('k', '1', 'number', 'production');
SET LOCAL app.current_environment = 'development';
SET LOCAL app.user_role = 'admin';
SET LOCAL ROLE authenticated_users;
SELECT is_empty($$SELECT id FROM configuration_settings WHERE environment = 'production'$$,
    'calling oneself an administrator shows no setting of another environment');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
