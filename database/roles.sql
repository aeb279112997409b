-- Generated from database/roles.ts: node database/roles-sql.ts
-- Prepares a database for `ctm migrate up` on a server that Pulumi does not provision.
-- Run as a superuser, connected to that database. May be run any number of times.

-- Roles. Passwords are set elsewhere.
DO $$ BEGIN CREATE ROLE ctm_key_lookup; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_key_lookup NOLOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE ctm_key_lookup IS 'owns the functions that look up an API key and count its use, and nothing else';
DO $$ BEGIN CREATE ROLE ctm_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_owner NOLOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE ctm_owner IS 'owns the database, its schema and every object in it';
DO $$ BEGIN CREATE ROLE ctm_migrator; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_migrator LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE ctm_migrator IS 'runs migrations and administration as ctm_owner';
DO $$ BEGIN CREATE ROLE authenticated_users; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE authenticated_users NOLOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE authenticated_users IS 'people: their own API keys and access logs, the settings of their environment';
DO $$ BEGIN CREATE ROLE api_users; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE api_users NOLOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE api_users IS 'services: tasks and everything that belongs to a task';
DO $$ BEGIN CREATE ROLE readonly_users; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE readonly_users NOLOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE readonly_users IS 'reports: reads everything but key hashes and secret settings';
DO $$ BEGIN CREATE ROLE ctm_api; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_api LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE ctm_api IS 'the API';
DO $$ BEGIN CREATE ROLE ctm_query; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_query LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT 10;
COMMENT ON ROLE ctm_query IS 'the API''s query endpoint for administrators: reads columns without secrets';
DO $$ BEGIN CREATE ROLE ctm_monitor; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_monitor LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT 10;
COMMENT ON ROLE ctm_monitor IS 'metrics exporters';
DO $$ BEGIN CREATE ROLE ctm_replicator; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_replicator LOGIN REPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE ctm_replicator IS 'streaming replication';
DO $$ BEGIN CREATE ROLE ctm_backup; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
ALTER ROLE ctm_backup LOGIN NOREPLICATION NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS INHERIT CONNECTION LIMIT -1;
COMMENT ON ROLE ctm_backup IS 'starts and stops backups (the functions of backupFunctions)';

-- Memberships.
GRANT ctm_key_lookup TO ctm_owner;
GRANT pg_read_all_stats TO ctm_owner;
GRANT ctm_owner TO ctm_migrator;
GRANT api_users TO ctm_api;
GRANT authenticated_users TO ctm_api;
GRANT pg_monitor TO ctm_monitor;
GRANT pg_read_all_settings TO ctm_backup;

-- Settings of their sessions.
ALTER ROLE ctm_migrator SET log_parameter_max_length = '0';
ALTER ROLE ctm_migrator SET log_parameter_max_length_on_error = '0';
ALTER ROLE ctm_api SET statement_timeout = '60s';
ALTER ROLE ctm_api SET lock_timeout = '30s';
ALTER ROLE ctm_api SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE ctm_api SET log_parameter_max_length = '0';
ALTER ROLE ctm_api SET log_parameter_max_length_on_error = '0';
ALTER ROLE ctm_query SET default_transaction_read_only = 'on';
ALTER ROLE ctm_query SET statement_timeout = '30s';
ALTER ROLE ctm_query SET lock_timeout = '5s';
ALTER ROLE ctm_query SET idle_in_transaction_session_timeout = '30s';
ALTER ROLE ctm_query SET temp_file_limit = '1GB';
ALTER ROLE ctm_query SET log_parameter_max_length = '0';
ALTER ROLE ctm_query SET log_parameter_max_length_on_error = '0';
ALTER ROLE ctm_monitor SET statement_timeout = '15s';
ALTER ROLE ctm_monitor SET lock_timeout = '2s';

-- Extensions.
CREATE EXTENSION IF NOT EXISTS "uuid-ossp" SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pgcrypto SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_stat_statements SCHEMA public;
CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA public;

-- The database: what nobody was granted, nobody has.
DO $$
BEGIN
  EXECUTE format('ALTER DATABASE %I OWNER TO ctm_owner', current_database());
  EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO ctm_migrator', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO authenticated_users', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO api_users', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO readonly_users', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO ctm_query', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO ctm_monitor', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO ctm_backup', current_database());
END
$$;

-- The schema.
ALTER SCHEMA public OWNER TO ctm_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO ctm_key_lookup;
GRANT USAGE ON SCHEMA public TO authenticated_users;
GRANT USAGE ON SCHEMA public TO api_users;
GRANT USAGE ON SCHEMA public TO readonly_users;
GRANT USAGE ON SCHEMA public TO ctm_query;
GRANT USAGE ON SCHEMA public TO ctm_monitor;

-- Backup functions, under the names of the server's version.
DO $$
BEGIN
  IF current_setting('server_version_num')::integer < 150000 THEN
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_start_backup(text, boolean, boolean) TO ctm_backup;
  END IF;
  IF current_setting('server_version_num')::integer < 150000 THEN
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_stop_backup(boolean, boolean) TO ctm_backup;
  END IF;
  GRANT EXECUTE ON FUNCTION pg_catalog.pg_switch_wal() TO ctm_backup;
  GRANT EXECUTE ON FUNCTION pg_catalog.pg_create_restore_point(text) TO ctm_backup;
  GRANT EXECUTE ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO ctm_backup;
  IF current_setting('server_version_num')::integer >= 150000 THEN
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_start(text, boolean) TO ctm_backup;
  END IF;
  IF current_setting('server_version_num')::integer >= 150000 THEN
    GRANT EXECUTE ON FUNCTION pg_catalog.pg_backup_stop(boolean) TO ctm_backup;
  END IF;
END
$$;

-- Functions with which any login could disturb others (docs/decisions/0061).
DO $$
DECLARE
  routine regprocedure;
BEGIN
  FOR routine IN
    SELECT oid FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace
      AND proname IN ('pg_advisory_lock', 'pg_advisory_lock_shared', 'pg_advisory_xact_lock', 'pg_advisory_xact_lock_shared', 'pg_try_advisory_lock', 'pg_try_advisory_lock_shared', 'pg_try_advisory_xact_lock', 'pg_try_advisory_xact_lock_shared', 'pg_logical_emit_message', 'lo_creat', 'lo_create', 'lo_from_bytea')
  LOOP
    EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO ctm_owner', routine);
    EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', routine);
  END LOOP;
END
$$;

-- Hand over what stands in the schema already, as in a database that was made by hand.
DO $$
DECLARE
  statement text;
BEGIN
  FOR statement IN
    SELECT format('ALTER %s %I.%I OWNER TO ctm_owner',
                  CASE class.relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW'
                                     WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END,
                  namespace.nspname, class.relname)
    FROM pg_class class
    JOIN pg_namespace namespace ON namespace.oid = class.relnamespace
    WHERE namespace.nspname = 'public'
      AND class.relkind IN ('r', 'p', 'v', 'm', 'S')
      AND class.relowner <> 'ctm_owner'::regrole
      AND NOT EXISTS (SELECT FROM pg_depend depend
                      WHERE depend.classid = 'pg_class'::regclass AND depend.objid = class.oid
                        AND depend.deptype IN ('e', 'a', 'i'))
    UNION ALL
    SELECT format('ALTER ROUTINE %s OWNER TO ctm_owner', routine.oid::regprocedure)
    FROM pg_proc routine
    JOIN pg_namespace namespace ON namespace.oid = routine.pronamespace
    WHERE namespace.nspname = 'public'
      AND routine.prokind IN ('f', 'p')
      AND routine.proowner NOT IN ('ctm_owner'::regrole, 'ctm_key_lookup'::regrole)
      AND NOT EXISTS (SELECT FROM pg_depend depend
                      WHERE depend.classid = 'pg_proc'::regclass AND depend.objid = routine.oid
                        AND depend.deptype = 'e')
  LOOP
    EXECUTE statement;
  END LOOP;
END
$$;
