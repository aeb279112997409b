\echo ok 1
\echo 1..2
\echo ok 2
