-- Each assertion passing, failing, and what it says then.
BEGIN;
SELECT no_plan();

CREATE SCHEMA shop;
CREATE ROLE pr_clerk;
CREATE ROLE pr_guest;
GRANT USAGE ON SCHEMA shop TO pr_clerk, pr_guest;
CREATE TABLE shop.orders (id int PRIMARY KEY, clerk text NOT NULL, note text);
CREATE INDEX orders_clerk ON shop.orders (clerk);
INSERT INTO shop.orders VALUES (1, 'anna'), (2, 'bert');
ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
GRANT SELECT, INSERT, UPDATE, DELETE ON shop.orders TO pr_clerk;
CREATE POLICY own ON shop.orders FOR ALL TO pr_clerk
  USING (clerk = current_setting('app.clerk', true))
  WITH CHECK (clerk = current_setting('app.clerk', true));
CREATE TABLE shop.open (id int);
CREATE TABLE shop.forced (id int);
ALTER TABLE shop.forced ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- rls_is_enabled
SELECT * FROM check_test(rls_is_enabled('shop', 'orders'), true, 'rls_is_enabled: enabled',
  'Row-level security should be enabled on shop.orders', '');
SELECT * FROM check_test(rls_is_enabled('shop', 'open', 'of course'), false, 'rls_is_enabled: disabled',
  'of course', '    it is disabled: whoever may read the table reads every row');
SELECT * FROM check_test(rls_is_enabled('shop', 'nothing'), false, 'rls_is_enabled: missing',
  'Row-level security should be enabled on shop.nothing', '    there is no table shop.nothing');

-- rls_is_forced
SELECT * FROM check_test(rls_is_forced('shop', 'forced'), true, 'rls_is_forced: forced',
  'Row-level security should be forced on shop.forced', '');
SELECT * FROM check_test(rls_is_forced('shop', 'orders'), false, 'rls_is_forced: enabled only',
  'Row-level security should be forced on shop.orders',
  '    it is enabled, but not for the owner of the table');
SELECT * FROM check_test(rls_is_forced('shop', 'open'), false, 'rls_is_forced: disabled',
  'Row-level security should be forced on shop.open',
  '    it is disabled: whoever may read the table reads every row');

-- policy_is
SELECT * FROM check_test(
  policy_is('shop', 'orders', 'own', 'all', ARRAY['pr_clerk'],
    'clerk=current_setting ( ''app.clerk'', TRUE )', '(clerk = current_setting(''app.clerk'', true))'),
  true, 'policy_is: the same, written otherwise', 'Policy own on shop.orders should be as wanted', '');
SELECT * FROM check_test(
  policy_is('shop', 'orders', 'own', 'SELECT', ARRAY['public'], 'id > 0', NULL),
  false, 'policy_is: everything different', 'Policy own on shop.orders should be as wanted',
  '    command
        have: ALL
        want: SELECT
    roles
        have: pr_clerk
        want: public
    USING
        have: (clerk = current_setting(''app.clerk''::text, true))
        want: (id > 0)
    WITH CHECK
        have: (clerk = current_setting(''app.clerk''::text, true))
        want: none');
SELECT * FROM check_test(
  policy_is('shop', 'orders', 'other', 'ALL', ARRAY['public'], NULL, NULL, 'there it is'),
  false, 'policy_is: missing', 'there it is', '    the table has no policy other');
SELECT * FROM check_test(
  policy_is('shop', 'nothing', 'own', 'ALL', ARRAY['public'], NULL, NULL),
  false, 'policy_is: no table', 'Policy own on shop.nothing should be as wanted',
  '    there is no table shop.nothing');
SELECT * FROM check_test(
  policy_is('shop', 'orders', 'own', 'ALL', ARRAY['pr_clerk'], 'no_such_column = 1',
    'clerk = current_setting(''app.clerk'', true)'),
  false, 'policy_is: no expression', 'Policy own on shop.orders should be as wanted',
  '    the wanted USING is no expression: column "no_such_column" does not exist');
SELECT is((SELECT count(*)::int FROM pg_policies WHERE schemaname = 'shop'), 1,
  'policy_is leaves no policy behind');

-- policy_allows and policy_denies
SELECT set_config('app.clerk', 'anna', true);
SELECT * FROM check_test(policy_allows('pr_clerk', 'SELECT FROM shop.orders WHERE id = 1'),
  true, 'policy_allows: a visible row',
  'pr_clerk should be allowed: SELECT FROM shop.orders WHERE id = 1', '');
SELECT * FROM check_test(policy_allows('pr_clerk', 'UPDATE shop.orders SET note = ''x'' WHERE id = 1'),
  true, 'policy_allows: an update');
SELECT * FROM check_test(policy_allows('pr_clerk', 'SELECT FROM shop.orders WHERE id = 2', 'sees it'),
  false, 'policy_allows: a hidden row', 'sees it', '    no row was reached');
SELECT * FROM check_test(policy_allows('pr_guest', 'SELECT FROM shop.orders'),
  false, 'policy_allows: no privilege', 'pr_guest should be allowed: SELECT FROM shop.orders',
  '    42501: permission denied for table orders');
SELECT * FROM check_test(policy_denies('pr_clerk', 'DELETE FROM shop.orders WHERE id = 2'),
  true, 'policy_denies: a hidden row',
  'pr_clerk should be denied: DELETE FROM shop.orders WHERE id = 2', '');
SELECT * FROM check_test(policy_denies('pr_clerk', 'INSERT INTO shop.orders VALUES (3, ''bert'')'),
  true, 'policy_denies: a row for somebody else');
SELECT * FROM check_test(policy_denies('pr_guest', 'TABLE shop.orders'),
  true, 'policy_denies: no privilege');
SELECT * FROM check_test(policy_denies('pr_clerk', 'DELETE FROM shop.orders WHERE id = 1', 'cannot'),
  false, 'policy_denies: an own row', 'cannot', '    1 rows were reached');
SELECT * FROM check_test(policy_denies('pr_clerk', 'INSERT INTO shop.orders VALUES (1, ''anna'')'),
  false, 'policy_denies: another error is no refusal',
  'pr_clerk should be denied: INSERT INTO shop.orders VALUES (1, ''anna'')',
  '    23505: duplicate key value violates unique constraint "orders_pkey"');
SELECT * FROM check_test(policy_denies('pr_nobody', 'TABLE shop.orders'),
  false, 'policy_denies: a role that cannot be taken', 'pr_nobody should be denied: TABLE shop.orders',
  '    role not taken: role "pr_nobody" does not exist');
SELECT results_eq('SELECT id, clerk, note FROM shop.orders ORDER BY id',
  $$VALUES (1, 'anna', NULL), (2, 'bert', NULL)$$, 'what they try is undone');
SELECT is(current_user, session_user, 'and so is the role');

-- view_is_security_invoker; servers before 15 have no such views
CREATE VIEW shop.as_owner AS SELECT * FROM shop.orders;
SELECT current_setting('server_version_num')::int >= 150000 AS has_invoker \gset
\if :has_invoker
CREATE VIEW shop.as_caller WITH (security_invoker = on) AS SELECT * FROM shop.orders;
SELECT * FROM check_test(view_is_security_invoker('shop', 'as_caller'), true, 'view_is_security_invoker: set',
  'View shop.as_caller should have security_invoker', '');
\endif
SELECT * FROM check_test(view_is_security_invoker('shop', 'as_owner', 'safe'), false,
  'view_is_security_invoker: not set', 'safe', '    it reads its tables with the rights of its owner');
SELECT * FROM check_test(view_is_security_invoker('shop', 'orders'), false, 'view_is_security_invoker: a table',
  'View shop.orders should have security_invoker', '    there is no view shop.orders');

-- search_path_is_pinned, security_definers_pin_search_path
CREATE FUNCTION shop.pinned() RETURNS int LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog AS 'SELECT 1';
CREATE FUNCTION shop.loose(int) RETURNS int LANGUAGE sql AS 'SELECT 1';
SELECT * FROM check_test(search_path_is_pinned('shop', 'pinned'), true, 'search_path_is_pinned: pinned',
  'Function shop.pinned should pin its search_path', '');
SELECT * FROM check_test(search_path_is_pinned('shop', 'loose', 'safe'), false, 'search_path_is_pinned: loose',
  'safe', '    takes the search_path of its caller: shop.loose(integer)');
SELECT * FROM check_test(search_path_is_pinned('shop', 'nothing'), false, 'search_path_is_pinned: missing',
  'Function shop.nothing should pin its search_path', '    there is no function shop.nothing');
SELECT * FROM check_test(security_definers_pin_search_path('shop'), true,
  'security_definers_pin_search_path: all do', 'SECURITY DEFINER functions of shop should pin their search_path', '');
ALTER FUNCTION shop.loose(int) SECURITY DEFINER;
SELECT * FROM check_test(security_definers_pin_search_path('shop', 'safe'), false,
  'security_definers_pin_search_path: one does not', 'safe',
  '    takes the search_path of its caller: shop.loose(integer)');

-- public_has_no_privileges, public_has_no_privilege_on
SELECT * FROM check_test(public_has_no_privileges('shop', 'closed'), false,
  'public_has_no_privileges: functions by default', 'closed',
  '    PUBLIC has EXECUTE on function shop.loose(integer)
    PUBLIC has EXECUTE on function shop.pinned()');
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA shop FROM PUBLIC;
SELECT * FROM check_test(public_has_no_privileges('shop'), true, 'public_has_no_privileges: none',
  'PUBLIC should have no privilege in schema shop', '');
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT, INSERT ON shop.open TO PUBLIC;
GRANT UPDATE (note) ON shop.orders TO PUBLIC;
SELECT * FROM check_test(public_has_no_privileges('shop'), false, 'public_has_no_privileges: some',
  'PUBLIC should have no privilege in schema shop',
  '    PUBLIC has UPDATE on column shop.orders.note
    PUBLIC has USAGE on schema shop
    PUBLIC has INSERT, SELECT on table shop.open');
SELECT * FROM check_test(public_has_no_privilege_on('shop', 'pinned'), true, 'public_has_no_privilege_on: none',
  'PUBLIC should have no privilege on shop.pinned', '');
SELECT * FROM check_test(public_has_no_privilege_on('shop', 'open', 'closed'), false,
  'public_has_no_privilege_on: some', 'closed', '    PUBLIC has INSERT, SELECT on table shop.open');
SELECT * FROM check_test(public_has_no_privilege_on('shop', 'nothing'), false,
  'public_has_no_privilege_on: missing', 'PUBLIC should have no privilege on shop.nothing',
  '    there is no shop.nothing');

-- query_uses_index, query_can_use_index
SELECT * FROM check_test(query_can_use_index('SELECT * FROM shop.orders WHERE clerk = ''anna''', 'orders_clerk'),
  true, 'query_can_use_index: it fits', 'The query should be able to use the index orders_clerk', '');
SELECT * FROM check_test(query_can_use_index('SELECT * FROM shop.orders WHERE note = ''x''', 'orders_clerk', 'fast'),
  false, 'query_can_use_index: it does not', 'fast', NULL);
SELECT * FROM check_test(query_uses_index('SELECT * FROM shop.orders WHERE id = 1', 'orders_clerk'),
  false, 'query_uses_index: not in a table of two rows', 'The query should use the index orders_clerk', NULL);
INSERT INTO shop.orders SELECT i, 'clerk ' || i FROM generate_series(3, 5000) i;
ANALYZE shop.orders;
SELECT * FROM check_test(query_uses_index('SELECT * FROM shop.orders WHERE clerk = ''anna''', 'orders_clerk'),
  true, 'query_uses_index: chosen', 'The query should use the index orders_clerk', '');

SELECT * FROM finish();
ROLLBACK;
