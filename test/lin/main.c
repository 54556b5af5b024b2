/*-------------------------------------------------------------------------
 *
 * main.c
 *	  The checker as a program, and the test of the checker.
 *
 *		lin FILE ...		check histories (format in lin.h); exit code 1 when
 *							one is not linearizable or was not decided
 *		lin --known DIR		files whose first line says "# good" or "# bad"
 *		lin --fuzz N		N random small histories, compared with trying out
 *							every order
 *
 *-------------------------------------------------------------------------
 */
#include "lin.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/prng.h"

#define BUDGET UINT64_C(50000000)
#define MAX_KEYS 4096

typedef struct History
{
	LinOp	   *ops;
	size_t		n;
	size_t		size;
	char	   *keys[MAX_KEYS];
	uint32_t	keys_n;
} History;

/* -- Reading -------------------------------------------------------------------- */

static uint32_t
key_number(History *h, const char *name)
{
	for (uint32_t i = 0; i < h->keys_n; i++)
		if (strcmp(h->keys[i], name) == 0)
			return i;
	if (h->keys_n == MAX_KEYS)
		return MAX_KEYS - 1;
	h->keys[h->keys_n] = strdup(name);
	return h->keys_n++;
}

static bool
parse_kind(const char *words, const char *a, const char *b, const char *c, LinOp *op)
{
	op->value = strtoull(a, NULL, 10);
	if (strcmp(words, "write") == 0)
		op->kind = LIN_WRITE;
	else if (strcmp(words, "read") == 0)
		op->kind = LIN_READ;
	else if (strcmp(words, "append") == 0)
		op->kind = LIN_APPEND;
	else if (strcmp(words, "length") == 0)
		op->kind = LIN_LENGTH;
	else if (strcmp(words, "cas") == 0)
	{
		op->kind = LIN_CAS;
		op->old = op->value;
		op->value = strtoull(b, NULL, 10);
		op->ok = strcmp(c, "ok") == 0;
	}
	else
		return false;
	return true;
}

static bool
read_history(const char *path, History *h)
{
	FILE	   *file = fopen(path, "r");
	char		line[400];
	bool		good = file != NULL;

	memset(h, 0, sizeof(*h));
	while (good && fgets(line, sizeof(line), file) != NULL)
	{
		char		key[80];
		char		start[32];
		char		end[32];
		char		kind[16];
		char		a[32] = "0";
		char		b[32] = "0";
		char		c[8] = "";
		LinOp		op = {0};

		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (sscanf(line, "%79s %31s %31s %15s %31s %31s %7s", key, start, end, kind, a, b, c) < 4)
			good = false;
		op.start = strtoull(start, NULL, 10);
		op.end = strcmp(end, "-") == 0 ? LIN_NEVER : strtoull(end, NULL, 10);
		good = good && parse_kind(kind, a, b, c, &op) && op.start <= op.end;
		if (!good)
		{
			fprintf(stderr, "%s: not understood: %s", path, line);
			break;
		}
		op.key = key_number(h, key);
		if (h->n == h->size)
		{
			h->size = h->size == 0 ? 64 : h->size * 2;
			h->ops = realloc(h->ops, h->size * sizeof(LinOp));
			if (h->ops == NULL)
				abort();
		}
		h->ops[h->n++] = op;
	}
	if (file != NULL)
		fclose(file);
	return good;
}

static void
free_history(History *h)
{
	for (uint32_t i = 0; i < h->keys_n; i++)
		free(h->keys[i]);
	free(h->ops);
}

static LinResult
check_file(const char *path, bool print)
{
	static const char *const words[] = {"linearizable", "NOT linearizable", "not decided"};
	History		h;
	LinResult	result = LIN_UNKNOWN;
	uint32_t	key = 0;

	if (read_history(path, &h))
	{
		result = lin_check(h.ops, h.n, BUDGET, &key);
		if (print)
			printf("%s: %zu operations, %u keys: %s%s%s\n", path, h.n, h.keys_n, words[result],
				   result == LIN_GOOD ? "" : " at key ", result == LIN_GOOD ? "" : h.keys[key]);
	}
	free_history(&h);
	return result;
}

/* -- The test of the checker -------------------------------------------------------- */

static int
is_history(const struct dirent *entry)
{
	size_t		len = strlen(entry->d_name);

	return len > 4 && strcmp(entry->d_name + len - 4, ".txt") == 0;
}

static int
check_known(const char *dir)
{
	struct dirent **files;
	int			n = scandir(dir, &files, is_history, alphasort);
	uint32_t	passed = 0;
	uint32_t	failed = 0;

	for (int i = 0; i < n; i++)
	{
		char		path[1024];
		char		first[32] = "";
		FILE	   *file;
		LinResult	want;

		snprintf(path, sizeof(path), "%s/%s", dir, files[i]->d_name);
		free(files[i]);
		file = fopen(path, "r");
		if (file != NULL)
		{
			if (fgets(first, sizeof(first), file) == NULL)
				first[0] = '\0';
			fclose(file);
		}
		want = strncmp(first, "# bad", 5) == 0 ? LIN_BAD :
			strncmp(first, "# good", 6) == 0 ? LIN_GOOD : LIN_UNKNOWN;
		if (want != LIN_UNKNOWN && check_file(path, false) == want)
			passed++;
		else
		{
			printf("%s: not what its first line says\n", path);
			failed++;
		}
	}
	if (n >= 0)
		free(files);
	printf("%u passed, %u failed, 0 skipped\n", passed, failed);
	return failed > 0 || passed == 0;
}

/* Every order, the slow way: the twin that is obviously right. */
static bool
any_order(const LinOp *ops, size_t n, uint32_t done, uint64_t state)
{
	bool		left = false;

	for (size_t i = 0; i < n; i++)
		left = left || ((done >> i & 1) == 0 && ops[i].end != LIN_NEVER);
	if (!left)
		return true;
	for (size_t i = 0; i < n; i++)
	{
		uint64_t	next = state;
		bool		first = (done >> i & 1) == 0;

		/* It may be next if no other one left has returned before its call. */
		for (size_t k = 0; k < n && first; k++)
			first = k == i || (done >> k & 1) != 0 || ops[k].end >= ops[i].start;
		if (first && ops[i].kind == LIN_APPEND)
		{
			next = state + 1;
			first = ops[i].end == LIN_NEVER || ops[i].value == next;
		}
		else if (first && ops[i].kind == LIN_LENGTH)
			first = ops[i].end == LIN_NEVER || ops[i].value == state;
		else if (first && !(ops[i].kind == LIN_READ && ops[i].end == LIN_NEVER))
			first = lin_apply(&ops[i], &next);
		if (first && any_order(ops, n, done | (1u << i), next))
			return true;
	}
	return false;
}

static void
random_history(Prng *prng, LinOp *ops, size_t n, bool log)
{
	bool		swaps = prng_below(prng, 2) == 0;

	for (size_t i = 0; i < n; i++)
	{
		LinOp	   *op = &ops[i];

		memset(op, 0, sizeof(*op));
		op->start = prng_below(prng, 12);
		op->end = op->start + 1 + prng_below(prng, 6);
		if (prng_below(prng, 8) == 0)
			op->end = LIN_NEVER;
		if (log)
		{
			op->kind = prng_below(prng, 2) == 0 ? LIN_APPEND : LIN_LENGTH;
			op->value = prng_below(prng, (uint32_t) n) + (op->kind == LIN_APPEND);
			continue;
		}
		op->kind = (LinKind) prng_below(prng, swaps ? 3 : 2);
		op->value = 1 + prng_below(prng, 3);
		op->old = prng_below(prng, 4);
		op->ok = prng_below(prng, 2) == 0;
		if (op->kind == LIN_READ)
			op->value = prng_below(prng, 4);
	}
}

static int
fuzz(uint64_t runs)
{
	Prng		prng = {.state = 20231118};
	uint64_t	good = 0;
	uint64_t	differ = 0;

	for (uint64_t run = 0; run < runs; run++)
	{
		LinOp		ops[7];
		size_t		n = 1 + prng_below(&prng, 7);
		bool		log = run % 3 == 0;
		uint32_t	key;
		bool		want;
		LinResult	got;

		random_history(&prng, ops, n, log);
		want = any_order(ops, n, 0, 0);
		got = lin_check(ops, n, BUDGET, &key);
		good += want;
		if (got != (want ? LIN_GOOD : LIN_BAD))
		{
			differ++;
			printf("history %llu: is %s, checker says otherwise\n", (unsigned long long) run,
				   want ? "linearizable" : "not linearizable");
		}
	}
	printf("%llu histories, %llu of them linearizable\n", (unsigned long long) runs,
		   (unsigned long long) good);
	if (good == 0 || good == runs)
		differ++;				/* says nothing */
	printf("%llu passed, %llu failed, 0 skipped\n", (unsigned long long) (runs - differ),
		   (unsigned long long) differ);
	return differ > 0;
}

int
main(int argc, char **argv)
{
	uint32_t	failed = 0;

	if (argc == 3 && strcmp(argv[1], "--known") == 0)
		return check_known(argv[2]);
	if (argc == 3 && strcmp(argv[1], "--fuzz") == 0)
		return fuzz(strtoull(argv[2], NULL, 10));
	if (argc < 2)
	{
		fputs("usage: lin FILE ... | --known DIR | --fuzz N\n", stderr);
		return 2;
	}
	for (int i = 1; i < argc; i++)
		failed += check_file(argv[i], true) != LIN_GOOD;
	printf("%u passed, %u failed, 0 skipped\n", (uint32_t) (argc - 1) - failed, failed);
	return failed > 0;
}
