SELECT '{1,2,3}'::integer[]::vector, '{1.5,2}'::real[]::vector, '{1.5,2}'::double precision[]::vector, '{1.5,2}'::numeric[]::vector;
SELECT ARRAY[1,2,3]::vector, ARRAY[1.5,2]::vector(2);
SELECT '{1,2,3}'::real[]::vector(2);
SELECT '{NULL}'::real[]::vector;
SELECT '{NaN}'::real[]::vector;
SELECT '{Infinity}'::real[]::vector;
SELECT '{1e39}'::double precision[]::vector;
SELECT '{1e39}'::numeric[]::vector;
SELECT '{}'::real[]::vector;
SELECT '{{1}}'::real[]::vector;
SELECT '[0:1]={1,2}'::real[]::vector;
SELECT array_agg(n)::vector FROM generate_series(1, 16001) n;
SELECT '[1,2,3]'::vector::real[], pg_typeof('[1,2,3]'::vector::real[]);
SELECT '[1,2,3]'::vector(3)::vector(2);
SELECT array_to_vector(ARRAY[1,2]::real[], 2, false), vector_to_float4('[1,2]', -1, false);
-- SQLSTATEs
\set VERBOSITY sqlstate
SELECT '{NULL}'::real[]::vector;
SELECT '{}'::real[]::vector;
SELECT '{{1}}'::real[]::vector;
SELECT '{NaN}'::real[]::vector;
SELECT '{1e39}'::double precision[]::vector;
SELECT '{1e39}'::numeric[]::vector;
SELECT '{1,2}'::integer[]::vector(3);
SELECT array_agg(n)::vector FROM generate_series(1, 16001) n;
SELECT '{1}'::text[]::vector;
SELECT '{1}'::bigint[]::vector;
\set VERBOSITY default
SELECT '{16777217,-2147483648}'::integer[]::vector, '{0.1,1e-50}'::double precision[]::vector, '{0.1,1e-40}'::numeric[]::vector;
SELECT '{NaN}'::numeric[]::vector;
SELECT '{NaN}'::double precision[]::vector;
-- an array is no vector until it is assigned to one
SELECT vector_dims(ARRAY[1,2]);
SELECT '[1,2]'::vector::varchar, '[1,2]'::vector::double precision[];
CREATE TABLE t (v vector(2));
INSERT INTO t VALUES (ARRAY[1,2]), (ARRAY[1.5,2.5]), ('{3,4}'::real[]);
SELECT v, v::real[] FROM t;
SELECT unnest(v::real[]) FROM t;
-- arrays still compare as arrays
SELECT ARRAY[1,2,3] = ARRAY[1,2,3], ARRAY[1.5] < ARRAY[2.5];
SELECT castsource::regtype, casttarget::regtype, castcontext FROM pg_cast
	WHERE castsource = 'vector'::regtype OR casttarget = 'vector'::regtype ORDER BY 1::text, 2::text;
DROP TABLE t;
