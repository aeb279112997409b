SELECT set_config('app.current_user', 'somebody', false);
BEGIN;
SELECT plan(1);
SELECT pass('fine');
SELECT * FROM finish();
ROLLBACK;
