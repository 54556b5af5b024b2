/*-------------------------------------------------------------------------
 *
 * set.c
 *	  Sets of vectors: generated, from the demonstration, or from files.
 *
 * Raw files are bare rows; how long a row is follows from the number of queries,
 * which the ground truth tells.  Distances are exact, by one thread, in the
 * order of the SQL operators; where several rows are as near as the tenth, any
 * of them counts as found.
 *
 *-------------------------------------------------------------------------
 */
#include "set.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"
#include "base/status.h"

static float *
room_for(uint64_t n, uint32_t dim)
{
	return vt_alloc(sizeof(float) * n * dim);
}

static double
distance(const Set *set, uint32_t query, uint32_t row)
{
	return vec_distance(set->metric, set->queries + (size_t) query * set->dim,
						set->base + (size_t) row * set->dim, set->dim);
}

static void
compute_truth(Set *set)
{
	uint32_t	known = set->truth_known;

	for (uint32_t q = 0; q < set->nqueries; q++)
	{
		double		best[TRUTH_MOST];
		uint32_t   *rows = set->truth + (size_t) q * known;
		uint32_t	n = 0;

		for (uint32_t row = 0; row < set->n; row++)
		{
			double		d = distance(set, q, row);
			uint32_t	i;

			if (n == known && !(d < best[n - 1]))
				continue;
			if (n < known)
				n++;
			for (i = n - 1; i > 0 && d < best[i - 1]; i--)
			{
				best[i] = best[i - 1];
				rows[i] = rows[i - 1];
			}
			best[i] = d;
			rows[i] = row;
		}
	}
}

bool
set_want(Set *set, uint32_t k)
{
	if (k < 1 || k > set->truth_known)
		return false;
	for (uint32_t q = 0; q < set->nqueries; q++)
		set->truth_last[q] = distance(set, q, set->truth[(size_t) q * set->truth_known + k - 1]);
	return true;
}

/* Truth as read, or computed; then the distance of the last of each query. */
static void
finish(Set *set)
{
	if (set->truth == NULL)
	{
		set->truth_known = set->n < TRUTH_MOST ? set->n : TRUTH_MOST;
		set->truth = vt_alloc(sizeof(uint32_t) * set->truth_known * set->nqueries);
		compute_truth(set);
	}
	set->truth_last = vt_alloc(sizeof(double) * set->nqueries);
	if (!set_want(set, TRUTH))
		(void) set_want(set, set->truth_known);
}

uint32_t
set_hits(const Set *set, uint32_t query, const uint32_t *rows, uint32_t k)
{
	uint32_t	hits = 0;

	for (uint32_t i = 0; i < k; i++)
		hits += rows[i] < set->n && distance(set, query, rows[i]) <= set->truth_last[query];
	return hits;
}

/* -- Generated ------------------------------------------------------------- */

static float
normal(Prng *prng)
{
	double		sum = 0;

	for (int i = 0; i < 12; i++)
		sum += prng_double(prng);
	return (float) (sum - 6);
}

Set *
set_generate(const char *name, VecMetric metric, uint32_t dim, uint32_t n, uint32_t nqueries,
			 uint64_t seed)
{
	enum {LATENT = 20, CENTRES = 64};
	Set		   *set = vt_alloc0(sizeof(Set));
	Prng		prng = {seed};
	float	   *map = room_for(LATENT, dim);
	float	   *centres = room_for(CENTRES, LATENT);

	snprintf(set->name, sizeof(set->name), "%s", name);
	set->metric = metric;
	set->dim = dim;
	set->n = n;
	set->nqueries = nqueries;
	set->base = room_for(n, dim);
	set->queries = room_for(nqueries, dim);
	set->classes = vt_alloc(sizeof(uint16_t) * n);
	for (size_t i = 0; i < (size_t) LATENT * dim; i++)
		map[i] = normal(&prng);
	for (size_t i = 0; i < CENTRES * LATENT; i++)
		centres[i] = 2 * normal(&prng);
	for (uint32_t row = 0; row < n + nqueries; row++)
	{
		float	   *out = row < n ? set->base + (size_t) row * dim :
			set->queries + (size_t) (row - n) * dim;
		uint32_t	centre = prng_below(&prng, CENTRES);
		float		latent[LATENT];

		for (int j = 0; j < LATENT; j++)
			latent[j] = centres[centre * LATENT + (uint32_t) j] + normal(&prng);
		for (uint32_t i = 0; i < dim; i++)
		{
			float		x = 0.1f * normal(&prng);

			for (int j = 0; j < LATENT; j++)
				x += latent[j] * map[(size_t) j * dim + i];
			out[i] = x;
		}
		if (row < n)
			set->classes[row] = (uint16_t) centre;
	}
	free(map);
	free(centres);
	finish(set);
	return set;
}

/* -- The demonstration ----------------------------------------------------- */

/* The vectors of a column "[1,2,...]" at the end of the lines of a file. */
static float *
read_column(const char *folder, const char *file, uint32_t *n, uint32_t *dim)
{
	char		command[600];
	char	   *line = NULL;
	size_t		len = 0;
	FILE	   *in;
	float	   *rows = NULL;
	uint32_t	room = 0;

	*n = 0;
	*dim = 0;
	snprintf(command, sizeof(command), "gzip -dc '%s/%s' 2>/dev/null", folder, file);
	in = popen(command, "r");
	while (in && getline(&line, &len, in) > 0)
	{
		char	   *at = strrchr(line, '[');
		uint32_t	have = 0;

		if (at == NULL)
			continue;
		if (*n == 0)
			for (char *p = at; *p; p++)
				*dim += *p == ',' || *p == '[';
		if (*n == room)
		{
			room = room ? 2 * room : 1024;
			rows = vt_realloc(rows, sizeof(float) * room * *dim);
		}
		while (have < *dim && (*at == '[' || *at == ','))
			rows[(size_t) *n * *dim + have++] = strtof(at + 1, &at);
		*n += have == *dim;
	}
	if (in)
		pclose(in);
	free(line);
	return rows;
}

Set *
set_demo(const char *folder)
{
	Set		   *set = vt_alloc0(sizeof(Set));
	uint32_t	dim;

	snprintf(set->name, sizeof(set->name), "demo-films");
	set->metric = VEC_COSINE;
	set->base = read_column(folder, "films.tsv.gz", &set->n, &set->dim);
	set->queries = read_column(folder, "queries.tsv.gz", &set->nqueries, &dim);
	if (set->n < TRUTH || set->nqueries == 0 || dim != set->dim)
	{
		set_free(set);
		return NULL;
	}
	finish(set);
	return set;
}

/* -- Files ----------------------------------------------------------------- */

typedef struct File
{
	uint8_t    *bytes;
	size_t		size;
} File;

static bool
file_read(const char *folder, const char *name, File *file)
{
	char		path[600];
	FILE	   *in;
	long		size;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	in = fopen(path, "rb");
	if (in == NULL)
		return false;
	file->bytes = NULL;
	if (fseek(in, 0, SEEK_END) == 0 && (size = ftell(in)) > 0)
	{
		file->size = (size_t) size;
		file->bytes = vt_alloc(file->size);
		rewind(in);
		if (fread(file->bytes, 1, file->size, in) != file->size)
		{
			free(file->bytes);
			file->bytes = NULL;
		}
	}
	fclose(in);
	return file->bytes != NULL;
}

static float
half(uint16_t h)
{
	int			exponent = h >> 10 & 31;
	float		mantissa = (float) (h & 1023) / 1024;
	float		x = exponent ? ldexpf(1 + mantissa, exponent - 15) : ldexpf(mantissa, -14);

	return h & 0x8000 ? -x : x;
}

/*
 * Rows of what.bvecs, what.u8.raw or what.f16.raw.  Raw rows: either n is known
 * (not 0) and dim follows, or dim is known and n follows.
 */
static float *
rows_read(const char *folder, const char *what, uint32_t *n, uint32_t *dim)
{
	static const char *const ends[] = {".bvecs", ".u8.raw", ".f16.raw"};
	char		name[80];
	File		file;
	float	   *rows;
	int			kind = 0;
	size_t		count;

	for (;; kind++)
	{
		if (kind == 3)
			return NULL;
		snprintf(name, sizeof(name), "%s%s", what, ends[kind]);
		if (file_read(folder, name, &file))
			break;
	}
	if (kind == 0)
	{
		uint32_t	d;

		memcpy(&d, file.bytes, sizeof(d));
		*dim = d;
		count = d ? file.size / (d + 4) : 0;
	}
	else
	{
		size_t		elements = kind == 1 ? file.size : file.size / 2;

		if (*n)
			*dim = (uint32_t) (elements / *n);
		count = *dim ? elements / *dim : 0;
	}
	*n = (uint32_t) count;
	rows = *dim && *dim <= VEC_MAX_DIM ? room_for(count, *dim) : NULL;
	for (size_t row = 0; rows && row < count; row++)
		for (uint32_t i = 0; i < *dim; i++)
		{
			size_t		at = row * *dim + i;
			uint16_t	h;

			if (kind == 0)
				rows[at] = file.bytes[row * (*dim + 4) + 4 + i];
			else if (kind == 1)
				rows[at] = file.bytes[at];
			else
			{
				memcpy(&h, file.bytes + 2 * at, sizeof(h));
				rows[at] = half(h);
			}
		}
	free(file.bytes);
	return rows;
}

/* Truth of all queries, the first of each. */
static void
truth_take(Set *set, const File *file)
{
	uint32_t	k;
	size_t		row;

	memcpy(&k, file->bytes, sizeof(k));
	row = 4 * ((size_t) k + 1);
	if (k < TRUTH || k > 10000)
		return;
	set->nqueries = (uint32_t) (file->size / row);
	set->truth_known = k < TRUTH_MOST ? k : TRUTH_MOST;
	set->truth = vt_alloc(sizeof(uint32_t) * set->truth_known * set->nqueries);
	for (uint32_t q = 0; q < set->nqueries; q++)
		memcpy(set->truth + (size_t) q * set->truth_known, file->bytes + q * row + 4, 4 * (size_t) set->truth_known);
	set->truth_read = true;
}

Set *
set_read(const char *folder, uint32_t limit, VecMetric metric)
{
	Set		   *set = vt_alloc0(sizeof(Set));
	const char *base = strrchr(folder, '/');
	File		file = {0};
	uint32_t	dim = 0;

	snprintf(set->name, sizeof(set->name), "%s", base ? base + 1 : folder);
	set->metric = VEC_L2;
	if (!file_read(folder, "groundtruth.ivecs", &file) &&
		file_read(folder, "groundtruth_cosine.ivecs", &file))
		set->metric = VEC_COSINE;
	if (file.bytes)
		truth_take(set, &file);
	free(file.bytes);
	if (set->truth)
		set->queries = rows_read(folder, "query", &set->nqueries, &set->dim);
	dim = set->dim;
	if (set->queries)
		set->base = rows_read(folder, "base", &set->n, &dim);
	if (set->base == NULL || dim != set->dim || set->n < TRUTH)
	{
		set_free(set);
		return NULL;
	}
	if (file_read(folder, "base_class.u16.raw", &file) && file.size == 2 * (size_t) set->n)
		set->classes = (uint16_t *) file.bytes;
	for (size_t i = 0; set->truth && i < (size_t) set->nqueries * set->truth_known; i++)
		if (set->truth[i] >= set->n)
		{
			free(set->truth);
			set->truth = NULL;
		}
	if ((limit && limit < set->n) || (metric && metric != set->metric))
	{
		set->n = limit && limit < set->n ? limit : set->n;
		set->metric = metric ? metric : set->metric;
		free(set->truth);
		set->truth = NULL;
		set->truth_read = false;
	}
	finish(set);
	return set;
}

void
set_free(Set *set)
{
	if (set == NULL)
		return;
	free(set->base);
	free(set->queries);
	free(set->truth);
	free(set->truth_last);
	free(set->classes);
	free(set);
}
