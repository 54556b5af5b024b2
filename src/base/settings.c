/*-------------------------------------------------------------------------
 *
 * settings.c
 *	  Settings from flags, environment and a file.
 *
 *-------------------------------------------------------------------------
 */
#include "base/settings.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static Setting *
find(Setting *settings, size_t n, const char *name, size_t len, char dash)
{
	for (size_t i = 0; i < n; i++)
	{
		const char *s = settings[i].name;
		size_t		k = 0;

		if (strlen(s) != len)
			continue;
		while (k < len && (s[k] == name[k] || (s[k] == '_' && name[k] == dash)))
			k++;
		if (k == len)
			return &settings[i];
	}
	return NULL;
}

const Setting *
setting_of(const Setting *settings, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(settings[i].name, name) == 0)
			return &settings[i];
	return NULL;
}

static VtStatus
assign(Setting *setting, const char *value, const char *from, VtError *err)
{
	setting->text = vt_strdup(value);
	snprintf(setting->from, sizeof(setting->from), "%s", from);
	if (setting->high > 0)
	{
		char	   *end;

		errno = 0;
		setting->number = strtoll(value, &end, 10);
		if (*value == '\0' || *end != '\0' || errno != 0 || setting->number < setting->low ||
			setting->number > setting->high)
			return vt_fail(err, VT_INVALID, "%s: \"%s\" is no number from %lld to %lld", from, value,
						   setting->low, setting->high);
	}
	return VT_OK;
}

static void
environment_name(char *out, size_t size, const char *service, const char *name)
{
	size_t		n = (size_t) snprintf(out, size, "VECTRON_%s_%s", service, name);

	for (size_t i = 0; i < n && i < size; i++)
		out[i] = (char) toupper((unsigned char) out[i]);
}

/* Lines NAME=value; # begins a comment. */
static VtStatus
read_file(const char *service, Setting *settings, size_t n, VtError *err)
{
	static const char *const shapes[] = {".env.%s", "%s.env", "env/%s.env"};
	char		path[128];
	char		line[1024];
	char		from[96];
	FILE	   *file = NULL;
	VtStatus	status = VT_OK;
	char		prefix[64];
	size_t		prefix_len;

	for (int i = 0; i < 3 && !file; i++)
	{
		const char *at = strstr(shapes[i], "%s");

		snprintf(path, sizeof(path), "%.*s%s%s", (int) (at - shapes[i]), shapes[i], service, at + 2);
		file = fopen(path, "re");
	}
	if (!file)
		return VT_OK;
	environment_name(prefix, sizeof(prefix), service, "");
	prefix_len = strlen(prefix);
	for (int number = 1; status == VT_OK && fgets(line, sizeof(line), file); number++)
	{
		char	   *equals = strchr(line, '=');
		Setting    *setting;
		size_t		len = strcspn(line, "\r\n");

		line[len] = '\0';
		if (line[strspn(line, " \t")] == '\0' || line[0] == '#')
			continue;
		snprintf(from, sizeof(from), "%.80s:%d", path, number);
		if (!equals || strncmp(line, prefix, prefix_len) != 0)
		{
			status = vt_fail(err, VT_INVALID, "%s: not a line %sNAME=value", from, prefix);
			break;
		}
		*equals = '\0';
		for (char *p = line; *p; p++)
			*p = (char) tolower((unsigned char) *p);
		setting = find(settings, n, line + prefix_len, strlen(line + prefix_len), '_');
		status = setting ? assign(setting, equals + 1, from, err) :
			vt_fail(err, VT_INVALID, "%s: unrecognized setting \"%s\"", from, line);
	}
	fclose(file);
	return status;
}

static VtStatus
read_environment(const char *service, Setting *settings, size_t n, VtError *err)
{
	bool		file_wins = getenv("VECTRON_ENV_OVERRIDE") != NULL;

	for (size_t i = 0; i < n; i++)
	{
		char		name[128];
		const char *value;
		VtStatus	status;

		environment_name(name, sizeof(name), service, settings[i].name);
		value = getenv(name);
		if (!value || (file_wins && settings[i].text))
			continue;
		status = assign(&settings[i], value, name, err);
		if (status != VT_OK)
			return status;
	}
	return VT_OK;
}

static void
print_help(const char *service, const Setting *settings, size_t n)
{
	printf("usage: vectron-%s [--name value]...\n\n", service);
	for (size_t i = 0; i < n; i++)
	{
		char		flag[64];

		snprintf(flag, sizeof(flag), "--%s", settings[i].name);
		for (char *p = flag; *p; p++)
			if (*p == '_')
				*p = '-';
		printf("  %-22s %s", flag, settings[i].help);
		if (!settings[i].fallback)
			printf(" (required)");
		else if (settings[i].fallback[0])
			printf(" (default %s)", settings[i].fallback);
		printf("\n");
	}
}

VtStatus
settings_load(const char *service, Setting *settings, size_t n, int argc, char **argv, bool *help,
			  VtError *err)
{
	VtStatus	status = read_file(service, settings, n, err);

	*help = false;
	if (status == VT_OK)
		status = read_environment(service, settings, n, err);
	for (int i = 1; i < argc && status == VT_OK; i++)
	{
		const char *flag = argv[i];
		const char *equals = strchr(flag, '=');
		size_t		len = equals ? (size_t) (equals - flag) : strlen(flag);
		Setting    *setting = strncmp(flag, "--", 2) == 0 ? find(settings, n, flag + 2, len - 2, '-') : NULL;
		char		from[96];

		if (strcmp(flag, "--help") == 0)
		{
			*help = true;
			print_help(service, settings, n);
			return VT_OK;
		}
		if (!setting)
			return vt_fail(err, VT_INVALID, "unrecognized option \"%s\"; --help lists them", flag);
		if (!equals && i + 1 == argc)
			return vt_fail(err, VT_INVALID, "option \"%s\" needs a value", flag);
		snprintf(from, sizeof(from), "%.*s", (int) (len < 80 ? len : 80), flag);
		status = assign(setting, equals ? equals + 1 : argv[++i], from, err);
	}
	for (size_t i = 0; i < n && status == VT_OK; i++)
	{
		if (settings[i].text)
			continue;
		if (!settings[i].fallback)
			return vt_fail(err, VT_INVALID, "setting \"%s\" is required; --help lists them", settings[i].name);
		if (settings[i].high > 0 && settings[i].fallback[0] == '\0')
			settings[i].text = "";
		else
			status = assign(&settings[i], settings[i].fallback, "default", err);
	}
	return status;
}
