/*-------------------------------------------------------------------------
 *
 * rows.c
 *	  What is in a row, conditions on it, and whether an answer can be right.
 *
 *-------------------------------------------------------------------------
 */
#include "load.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void
vector_of(int64_t id, int64_t ver, float out[DIM])
{
	Prng		of_id = {.state = prng_mix((uint64_t) id)};
	Prng		of_ver = {.state = prng_mix((uint64_t) id ^ prng_mix((uint64_t) ver))};

	/* Few bits, so that text carries them exactly. */
	for (int i = 0; i < DIM; i++)
		out[i] = (float) prng_below(i < DIM_OF_ID ? &of_id : &of_ver, 1024) / 1024;
}

void
vector_near(int64_t id, float out[DIM])
{
	vector_of(id, 0, out);
	for (int i = DIM_OF_ID; i < DIM; i++)
		out[i] = 0.5f;
}

void
vector_text(const float v[DIM], char out[VECTOR_TEXT])
{
	int			at = 0;

	for (int i = 0; i < DIM; i++)
		at += snprintf(out + at, VECTOR_TEXT - (size_t) at, "%c%.10g", i == 0 ? '[' : ',', (double) v[i]);
	snprintf(out + at, VECTOR_TEXT - (size_t) at, "]");
}

double
vector_distance(const float a[DIM], const float b[DIM])
{
	double		sum = 0;

	for (int i = 0; i < DIM; i++)
		sum += ((double) a[i] - (double) b[i]) * ((double) a[i] - (double) b[i]);
	return sqrt(sum);
}

/* One for each number: is it above the middle? */
void
bits_sql(const char *vector, char out[BITS_TEXT])
{
	float		middle[DIM];
	char		text[VECTOR_TEXT];

	for (int i = 0; i < DIM; i++)
		middle[i] = 0.5f;
	vector_text(middle, text);
	snprintf(out, BITS_TEXT, "binary_quantize(%.20s - '%s'::vector)::bit(%d)", vector, text, DIM);
}

void
near_sql(bool by_bits, const char *vector, char out[NEAR_TEXT])
{
	char		own[BITS_TEXT];
	char		other[BITS_TEXT];

	bits_sql("v", own);
	bits_sql(vector, other);
	if (by_bits)
		snprintf(out, NEAR_TEXT, "%s <~> %s", own, other);
	else
		snprintf(out, NEAR_TEXT, "v <-> %.20s", vector);
}

/* -- Groups ------------------------------------------------------------------------- */

int
group_of_key(int64_t key, int64_t ver)
{
	return GROUPS + (int) key * VARIANTS + (int) (ver % VARIANTS);
}

void
word_of(int64_t id, int group, char out[WORD_TEXT])
{
	if (id <= KEYS_MAX)
		snprintf(out, WORD_TEXT, "k%d", (int) id);
	else
		snprintf(out, WORD_TEXT, "w%d", group);
}

/* The group that a row must be in; -1: any of those that rows change to. */
static int
group_of(int64_t id, int64_t ver)
{
	if (id <= KEYS_MAX)
		return group_of_key(id, ver);
	return id < CLIENT_FIRST ? (int) (id % GROUPS) : -1;
}

/* -- Conditions ---------------------------------------------------------------------- */

void
condition_draw(Prng *prng, bool wide, Condition *out)
{
	int			g = (int) prng_below(prng, wide ? GROUPS / 2 : GROUPS - 3);

	*out = (Condition) {.low = g, .high = g, .other = -1, .except = -1};
	if (wide)
	{
		out->high = g + GROUPS / 2;
		snprintf(out->sql, sizeof(out->sql), "g BETWEEN %d AND %d", g, out->high);
		return;
	}
	switch (prng_below(prng, 6))
	{
		case 0:
			snprintf(out->sql, sizeof(out->sql), "g = %d", g);
			break;
		case 1:
			out->high = g + 2;
			snprintf(out->sql, sizeof(out->sql), "g BETWEEN %d AND %d", g, g + 2);
			break;
		case 2:
			out->other = g + 3;
			snprintf(out->sql, sizeof(out->sql), "g IN (%d, %d)", g, g + 3);
			break;
		case 3:
			out->high = g + 2;
			out->except = g + 1;
			snprintf(out->sql, sizeof(out->sql), "g >= %d AND g < %d AND g <> %d", g, g + 3, g + 1);
			break;
		case 4:
			snprintf(out->sql, sizeof(out->sql), "w = 'w%d'", g);
			break;
		default:
			snprintf(out->sql, sizeof(out->sql), "w IN ('w%d', 'none') AND g IS NOT NULL", g);
			break;
	}
}

/* What a key has in each of its versions, and no other row. */
void
condition_of_key(Prng *prng, int64_t key, Condition *out)
{
	int			g = group_of_key(key, 0);

	*out = (Condition) {.low = g, .high = g + VARIANTS - 1, .other = -1, .except = -1};
	if (prng_below(prng, 2) == 0)
		snprintf(out->sql, sizeof(out->sql), "w = 'k%d'", (int) key);
	else
		snprintf(out->sql, sizeof(out->sql), "g BETWEEN %d AND %d", out->low, out->high);
}

static bool
holds(const Condition *condition, int group)
{
	return !condition || group == condition->other ||
		(group >= condition->low && group <= condition->high && group != condition->except);
}

/* -- Answers: id, ver, distance, g, w -------------------------------------------------- */

static bool
is_wrong(const PGresult *rows, int first, int i, const float query[DIM], const Condition *condition)
{
	int64_t		id = strtoll(PQgetvalue(rows, i, 0), NULL, 10);
	int64_t		ver = strtoll(PQgetvalue(rows, i, 1), NULL, 10);
	double		told = strtod(PQgetvalue(rows, i, 2), NULL);
	int			group = atoi(PQgetvalue(rows, i, 3));
	const char *word = PQgetvalue(rows, i, 4);
	char		own_word[WORD_TEXT];
	float		v[DIM];
	bool		twice = false;
	bool		own_group = group_of(id, ver) == -1 ? group >= 0 && group < GROUPS : group == group_of(id, ver);

	vector_of(id, ver, v);
	word_of(id, group, own_word);
	for (int k = first; k < i; k++)
		twice |= strtoll(PQgetvalue(rows, k, 0), NULL, 10) == id;
	if (!twice && fabs(vector_distance(v, query) - told) <= 1e-4 && own_group && strcmp(word, own_word) == 0 &&
		holds(condition, group))
		return false;
	fprintf(stderr, "wrong row: id %lld version %lld at %g, is at %g; group %d \"%s\" where %s%s\n", (long long) id,
			(long long) ver, told, vector_distance(v, query), group, word, condition ? condition->sql : "nothing is asked",
			twice ? ", and comes twice" : "");
	return true;
}

int
rows_wrong_of(const PGresult *rows, int first, int end, const float query[DIM], const Condition *condition)
{
	int			wrong = 0;

	for (int i = first; i < end; i++)
		wrong += is_wrong(rows, first, i, query, condition);
	return wrong;
}

int
rows_wrong(const PGresult *rows, const float query[DIM], const Condition *condition)
{
	return rows_wrong_of(rows, 0, PQntuples(rows), query, condition);
}

int
rows_missing(const PGresult *rows, int limit, const Condition *condition, int64_t base_rows)
{
	int			missing = 0;

	/* An answer that is full says nothing; any other has all there are, also those that never change. */
	if (PQntuples(rows) >= limit)
		return 0;
	for (int64_t id = BASE_FIRST; id < BASE_FIRST + base_rows; id++)
		missing += holds(condition, group_of(id, 0));
	for (int i = 0; i < PQntuples(rows); i++)
	{
		int64_t		id = strtoll(PQgetvalue(rows, i, 0), NULL, 10);

		missing -= id >= BASE_FIRST && id < BASE_FIRST + base_rows;
	}
	if (missing != 0)
		fprintf(stderr, "missing rows: %d of %d rows too few where %s\n", missing, PQntuples(rows),
				condition ? condition->sql : "nothing is asked");
	return missing;
}
