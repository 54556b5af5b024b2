/*-------------------------------------------------------------------------
 *
 * wire_tls.c
 *	  Two ends of TLS in one process: who is let in, who is not and why, and what
 *	  comes of bytes that are cut, damaged or no TLS at all.
 *
 *-------------------------------------------------------------------------
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/prng.h"
#include "certs.h"

static TestCa ca;				/* the cluster's */
static TestCa foreign;			/* of another one */
static TestCa twin;				/* that says it is the cluster's */

static int
setup(void **state)
{
	(void) state;
	ca_make(&ca, 7);
	ca_make(&foreign, 8);
	ca_make(&twin, 7);
	return 0;
}

static int
teardown(void **state)
{
	(void) state;
	ca_free(&ca);
	ca_free(&foreign);
	ca_free(&twin);
	return 0;
}

typedef struct End
{
	WireTlsContext *context;
	WireTls    *tls;
	Buf			plain;
	Buf			out;
	VtStatus	status;
	VtError		err;
} End;

static void
end_init(End *end, WireTlsContext *context, bool server, WireRole expected)
{
	memset(end, 0, sizeof(*end));
	end->context = context;
	end->tls = wire_tls_new(context, server, expected);
}

static void
end_free(End *end)
{
	wire_tls_free(end->tls);
	wire_tls_context_release(end->context);
	buf_free(&end->plain);
	buf_free(&end->out);
}

/* Give what one has to say to the other, chunk bytes at a time. */
static void
carry(End *from, End *to, size_t chunk)
{
	Buf			said = from->out;

	memset(&from->out, 0, sizeof(from->out));
	for (size_t at = 0; at < said.len && to->status == VT_OK; at += chunk)
		to->status = wire_tls_take(to->tls, bytes_of(said.data + at, said.len - at < chunk ? said.len - at : chunk),
								   &to->plain, &to->out, &to->err);
	buf_free(&said);
}

/* Until nobody has anything to say. */
static void
greet(End *client, End *server, size_t chunk)
{
	client->status = wire_tls_take(client->tls, bytes_of(NULL, 0), &client->plain, &client->out, &client->err);
	for (int i = 0; i < 10 && (client->out.len || server->out.len); i++)
	{
		carry(client, server, chunk);
		carry(server, client, chunk);
	}
}

static void
say(End *from, End *to, const void *data, size_t len, size_t chunk)
{
	size_t		before = to->plain.len;

	assert_int_equal(wire_tls_put(from->tls, bytes_of(data, len), &from->out, &from->err), VT_OK);
	carry(from, to, chunk);
	assert_int_equal(to->status, VT_OK);
	assert_int_equal(to->plain.len, before + len);
	assert_memory_equal(to->plain.data + before, data, len);
}

static void
two_of_a_cluster_speak(void **state)
{
	static const size_t chunks[] = {1, 7, 1000, 1 << 20};
	uint8_t    *large = vt_alloc0(3 << 20);

	(void) state;
	for (size_t i = 0; i < 3 << 20; i++)
		large[i] = (uint8_t) (i * 31);
	for (size_t i = 0; i < sizeof(chunks) / sizeof(chunks[0]); i++)
	{
		End			client;
		End			server;

		end_init(&client, context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "7300000000000000001"), false, WIRE_ROLE_WORKER);
		end_init(&server, context_of(&ca, &ca, WIRE_ROLE_WORKER, "w1"), true, 0);
		greet(&client, &server, chunks[i]);
		assert_true(wire_tls_ready(client.tls) && wire_tls_ready(server.tls));
		assert_string_equal(wire_tls_peer(client.tls)->name, "w1");
		assert_int_equal(wire_tls_peer(client.tls)->role, WIRE_ROLE_WORKER);
		assert_int_equal(wire_tls_peer(server.tls)->role, WIRE_ROLE_GATEWAY);
		assert_true(wire_tls_peer(server.tls)->system == UINT64_C(7300000000000000001));
		say(&client, &server, "question", 8, chunks[i]);
		say(&server, &client, "answer", 6, chunks[i]);
		say(&client, &server, large, chunks[i] == 1 ? 70000 : 3 << 20, chunks[i]);
		end_free(&client);
		end_free(&server);
	}
	free(large);
}

/* A peer that must be refused by the side that is asked to believe it. */
static void
refused(WireTlsContext *client_context, WireRole client_expects, WireTlsContext *server_context,
		bool by_server, const char *words, const char *other_words)
{
	End			client;
	End			server;
	End		   *by = by_server ? &server : &client;
	End		   *other = by_server ? &client : &server;

	end_init(&client, client_context, false, client_expects);
	end_init(&server, server_context, true, 0);
	greet(&client, &server, 1 << 20);
	assert_int_equal(by->status, VT_DENIED);
	assert_false(wire_tls_ready(by->tls));
	if (!strstr(by->err.msg, words))
		fail_msg("\"%s\" says nothing of \"%s\"", by->err.msg, words);
	assert_int_equal(other->status, VT_DENIED);
	if (!strstr(other->err.msg, other_words))
		fail_msg("\"%s\" says nothing of \"%s\"", other->err.msg, other_words);
	assert_int_equal(client.plain.len + server.plain.len, 0);
	end_free(&client);
	end_free(&server);
}

static void
who_does_not_belong_is_refused(void **state)
{
	WireTlsContext *worker = context_of(&ca, &ca, WIRE_ROLE_WORKER, "w1");

	(void) state;
	refused(context_of(&ca, &twin, WIRE_ROLE_GATEWAY, "9"), 0, wire_tls_context_ref(worker), true,
			"not signed by the cluster's CA", "not signed by a CA that it knows");
	/* A CA for two clusters: the names tell them apart. */
	refused(context_of(&ca, &foreign, WIRE_ROLE_GATEWAY, "9"), 0, context_of(&foreign, &ca, WIRE_ROLE_WORKER, "w1"), false,
			"of worker \"w1\" is for another cluster", "refuses our certificate");
	/* A worker at the driver's address, and a gateway that plays a server. */
	refused(context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9"), WIRE_ROLE_PD, wire_tls_context_ref(worker), false,
			"is for worker \"w1\", where a pd was expected", "refuses our certificate");
	refused(context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9"), 0, context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "10"), false,
			"is not for this side", "refuses our certificate");
	wire_tls_context_release(worker);
}

/* A stranger at our door: what becomes of it. */
static void
turned_away(const TestCert *shows, int version, VtStatus status, const char *words)
{
	SSL_CTX    *context = stranger(shows, version);
	SSL		   *ssl = SSL_new(context);
	BIO		   *in = BIO_new(BIO_s_mem());
	BIO		   *out = BIO_new(BIO_s_mem());
	End			server;

	SSL_set_bio(ssl, in, out);
	end_init(&server, context_of(&ca, &ca, WIRE_ROLE_PD, "pd1"), true, 0);
	for (int i = 0; i < 10 && server.status == VT_OK; i++)
	{
		char	   *said;
		long		len;

		(void) SSL_connect(ssl);
		len = BIO_get_mem_data(out, &said);
		server.status = wire_tls_take(server.tls, bytes_of(said, (size_t) len), &server.plain, &server.out, &server.err);
		BIO_reset(out);
		BIO_write(in, server.out.data, (int) server.out.len);
		buf_clear(&server.out);
	}
	assert_int_equal(server.status, status);
	if (!strstr(server.err.msg, words))
		fail_msg("\"%s\" says nothing of \"%s\"", server.err.msg, words);
	assert_false(wire_tls_ready(server.tls));
	assert_int_equal(server.plain.len, 0);
	end_free(&server);
	SSL_free(ssl);
	SSL_CTX_free(context);
}

static void
strangers_are_turned_away(void **state)
{
	TestCert	cert;

	(void) state;
	turned_away(NULL, TLS1_3_VERSION, VT_DENIED, "showed no certificate");
	turned_away(NULL, TLS1_2_VERSION, VT_VERSION, "does not speak TLS 1.3");
	cert_make_at(&cert, &ca, WIRE_ROLE_WORKER, "w1", -20, -10);
	turned_away(&cert, TLS1_3_VERSION, VT_DENIED, "the certificate of worker \"w1\" expired at 20");
	cert_free(&cert);
	cert_make_at(&cert, &ca, WIRE_ROLE_WORKER, "w1", 10, 20);
	turned_away(&cert, TLS1_3_VERSION, VT_DENIED, "is a clock wrong?");
	cert_free(&cert);
	cert_make(&cert, &foreign, WIRE_ROLE_WORKER, "w1");
	turned_away(&cert, TLS1_3_VERSION, VT_DENIED, "not signed by the cluster's CA");
	cert_free(&cert);
	cert_make(&cert, &twin, WIRE_ROLE_WORKER, "w1");
	turned_away(&cert, TLS1_3_VERSION, VT_DENIED, "not signed by the cluster's CA");
	cert_free(&cert);
	/* The CA itself is nobody. */
	cert.cert = ca.cert;
	cert.key = ca.key;
	turned_away(&cert, TLS1_3_VERSION, VT_DENIED, "the certificate");
}

static void
not_in_force(void **state)
{
	static const struct
	{
		int64_t		from;
		int64_t		until;
		const char *words;
	}			cases[] = {{-20, -10, "expired at 20"}, {10, 20, "is a clock wrong?"}};

	(void) state;
	for (size_t i = 0; i < 2; i++)
	{
		TestCert	cert;
		WireTlsContext *context;
		VtError		err = {0};

		cert_make_at(&cert, &ca, WIRE_ROLE_WORKER, "w1", cases[i].from, cases[i].until);
		assert_int_equal(wire_tls_context_new(buf_bytes(&ca.cert), buf_bytes(&cert.cert), buf_bytes(&cert.key), 0, &context, &err), VT_DENIED);
		assert_non_null(strstr(err.msg, cases[i].words));
		assert_non_null(strstr(err.msg, "of worker \"w1\""));
		assert_null(context);
		cert_free(&cert);
	}
}

/* Bytes that are no greeting, damaged ones, too many: refused, and little is kept of them. */
static void
no_tls(void **state)
{
	static const char *const said[] = {"VTRN\1\1\1\0\0\0\0\0\0\0\0\0\377\377\377\0\0\0\0\0", "GET / HTTP/1.1\r\n\r\n",
		"\0\0\0\010\004\322\026\057", "SSH-2.0-OpenSSH_9.2\r\n"};
	Prng		prng = {5};

	(void) state;
	for (size_t i = 0; i < 4; i++)
	{
		End			server;

		end_init(&server, context_of(&ca, &ca, WIRE_ROLE_PD, "pd1"), true, 0);
		server.status = wire_tls_take(server.tls, bytes_of(said[i], i == 0 ? 24 : i == 2 ? 8 : strlen(said[i])), &server.plain, &server.out, &server.err);
		assert_int_equal(server.status, VT_PROTOCOL);
		assert_non_null(strstr(server.err.msg, "does not speak TLS"));
		end_free(&server);
	}
	for (int i = 0; i < 300; i++)
	{
		WireTlsContext *context = i == 0 ? context_of(&ca, &ca, WIRE_ROLE_GATEWAY, "9") : NULL;
		static WireTlsContext *kept;
		End			client;
		End			server;
		size_t		at;

		kept = context ? context : kept;
		end_init(&client, wire_tls_context_ref(kept), false, 0);
		end_init(&server, wire_tls_context_ref(kept), true, 0);
		assert_int_equal(wire_tls_take(client.tls, bytes_of(NULL, 0), &client.plain, &client.out, &client.err), VT_OK);
		/* Sometimes the record's length or type, mostly anything. */
		at = prng_below(&prng, prng_below(&prng, 2) ? 12 : (uint32_t) client.out.len);
		client.out.data[at] ^= (uint8_t) (1 + prng_below(&prng, 255));
		carry(&client, &server, 1 + prng_below(&prng, 300));
		assert_false(wire_tls_ready(server.tls));
		assert_int_equal(server.plain.len, 0);
		assert_true(server.out.len < 8192);
		end_free(&client);
		end_free(&server);
		if (i == 299)
			wire_tls_context_release(kept);
	}
}

/* What is said later is guarded, too. */
static void
damage_ends_a_session(void **state)
{
	End			client;
	End			server;

	(void) state;
	end_init(&client, context_of(&ca, &ca, WIRE_ROLE_WORKER, "w2"), false, 0);
	end_init(&server, context_of(&ca, &ca, WIRE_ROLE_WORKER, "w1"), true, 0);
	greet(&client, &server, 100);
	say(&client, &server, "fine", 4, 100);
	assert_int_equal(wire_tls_put(client.tls, bytes_str("damaged"), &client.out, &client.err), VT_OK);
	client.out.data[client.out.len - 3] ^= 1;
	carry(&client, &server, 1 << 20);
	assert_int_equal(server.status, VT_PROTOCOL);
	assert_int_equal(server.plain.len, 4);
	end_free(&client);
	end_free(&server);
}

static void
identities(void **state)
{
	static const char *const bad[] = {"", "vectron://", "vectron://07/worker/w1",
		"vectron://07000000000000000000000000000000/worker", "vectron://07000000000000000000000000000000/worker/",
		"vectron://07000000000000000000000000000000/boss/w1", "vectron://00000000000000000000000000000000/worker/w1",
		"vectron://07000000000000000000000000000000/worker/a b", "vectron://07000000000000000000000000000000/worker/a/b",
		"vectron://07000000000000000000000000000000/gateway/w1", "vectron://07000000000000000000000000000000/gateway/01",
		"vectron://07000000000000000000000000000000/gateway/18446744073709551616",
		"http://07000000000000000000000000000000/worker/w1", "vectron://07000000000000000000000000000000/worker/"
		"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"};
	WireIdentity identity;
	Buf			uri = {0};

	(void) state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(wire_identity_parse(bytes_str(bad[i]), &identity, NULL), VT_INVALID);
	assert_int_equal(wire_identity_parse(bytes_of("vectron://07000000000000000000000000000000/worker/a\0b", 54), &identity, NULL), VT_INVALID);
	for (WireRole role = WIRE_ROLE_GATEWAY; role <= WIRE_ROLE_CTL; role++)
	{
		WireIdentity again;

		assert_int_equal(wire_identity_make(&ca.cluster, role, "18446744073709551615", &identity, NULL), VT_OK);
		buf_clear(&uri);
		wire_identity_format(&identity, &uri);
		assert_int_equal(wire_identity_parse(buf_bytes(&uri), &again, NULL), VT_OK);
		assert_memory_equal(&identity, &again, sizeof(identity));
		assert_true(identity.system == (role == WIRE_ROLE_GATEWAY ? UINT64_MAX : 0));
	}
	buf_free(&uri);
}

static void
certificates_say_what_they_are(void **state)
{
	WireCertFacts facts;
	WireTlsContext *context;
	TestCert	cert;

	(void) state;
	assert_int_equal(wire_cert_read(buf_bytes(&ca.cert), &facts, NULL), VT_OK);
	assert_true(facts.is_ca && vt_id_equal(&facts.identity.cluster, &ca.cluster));
	cert_make_at(&cert, &ca, WIRE_ROLE_GATEWAY, "42", -1, 1000);
	assert_int_equal(wire_cert_read(buf_bytes(&cert.cert), &facts, NULL), VT_OK);
	assert_false(facts.is_ca);
	assert_true(facts.identity.system == 42);
	assert_true(facts.until > time(NULL) + 90 * HOUR && facts.until < time(NULL) + 101 * HOUR);	/* not beyond its CA */
	assert_int_equal(strlen(facts.fingerprint), 64);
	assert_int_equal(wire_cert_read(bytes_str("nothing"), &facts, NULL), VT_INVALID);
	/* A new one for the same key; and a certificate signs nothing. */
	buf_clear(&cert.cert);
	assert_int_equal(wire_cert_make(buf_bytes(&ca.cert), buf_bytes(&ca.key), WIRE_ROLE_PD, "pd1", time(NULL), time(NULL) + HOUR, &cert.cert, &cert.key, NULL), VT_OK);
	context = NULL;
	assert_int_equal(wire_tls_context_new(buf_bytes(&ca.cert), buf_bytes(&cert.cert), buf_bytes(&cert.key), WIRE_ROLE_PD, &context, NULL), VT_OK);
	wire_tls_context_release(context);
	assert_int_equal(wire_cert_make(buf_bytes(&cert.cert), buf_bytes(&cert.key), WIRE_ROLE_PD, "x", 0, 1, &cert.cert, &cert.key, NULL), VT_INVALID);
	assert_int_equal(wire_cert_make(buf_bytes(&ca.cert), buf_bytes(&twin.key), WIRE_ROLE_PD, "x", 0, 1, &cert.cert, &cert.key, NULL), VT_INVALID);
	cert_free(&cert);
}

static void
load(const char *ca_file, const char *cert, const char *key, WireRole role, VtStatus status, const char *words)
{
	WireTlsFiles files = {ca_file, cert, key};
	WireTlsContext *context;
	VtError		err = {0};

	assert_int_equal(wire_tls_context_load(&files, role, &context, &err), status);
	if (status != VT_OK && !strstr(err.msg, words))
		fail_msg("\"%s\" says nothing of \"%s\"", err.msg, words);
	wire_tls_context_release(context);
}

static void
files(void **state)
{
	TestCert	cert;
	TestCert	other;
	char		ca_file[200];
	char		cert_file[200];
	char		key_file[200];

	(void) state;
	assert_int_equal(scratch_make(state), 0);
	snprintf(ca_file, sizeof(ca_file), "%s", scratch_path("ca.crt"));
	snprintf(cert_file, sizeof(cert_file), "%s", scratch_path("w1.crt"));
	snprintf(key_file, sizeof(key_file), "%s", scratch_path("w1.key"));
	cert_make(&cert, &ca, WIRE_ROLE_WORKER, "w1");
	cert_make(&other, &foreign, WIRE_ROLE_WORKER, "w1");
	write_whole(ca_file, buf_bytes(&ca.cert), 0644);
	write_whole(cert_file, buf_bytes(&cert.cert), 0644);
	write_whole(key_file, buf_bytes(&cert.key), 0600);
	load(ca_file, cert_file, key_file, WIRE_ROLE_WORKER, VT_OK, "");
	load(ca_file, cert_file, key_file, WIRE_ROLE_PD, VT_DENIED, "is for worker \"w1\", and this is a pd");
	load("/nowhere", cert_file, key_file, 0, VT_INVALID, "could not open \"/nowhere\"");
	load(scratch, cert_file, key_file, 0, VT_INVALID, "is no file of PEM");
	load(ca_file, ca_file, key_file, 0, VT_INVALID, "do not fit together");
	write_whole(key_file, buf_bytes(&cert.key), 0640);
	load(ca_file, cert_file, key_file, 0, VT_DENIED, "may be read by others");
	write_whole(key_file, buf_bytes(&other.key), 0600);
	load(ca_file, cert_file, key_file, 0, VT_INVALID, "do not fit together");
	write_whole(cert_file, buf_bytes(&other.cert), 0644);
	load(ca_file, cert_file, key_file, 0, VT_DENIED, "not signed by the cluster's CA");
	write_whole(ca_file, bytes_str(""), 0644);
	load(ca_file, cert_file, key_file, 0, VT_INVALID, "no CA's certificate");
	cert_free(&cert);
	cert_free(&other);
	assert_int_equal(scratch_remove(state), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_of_a_cluster_speak),
		cmocka_unit_test(who_does_not_belong_is_refused),
		cmocka_unit_test(strangers_are_turned_away),
		cmocka_unit_test(not_in_force),
		cmocka_unit_test(no_tls),
		cmocka_unit_test(damage_ends_a_session),
		cmocka_unit_test(identities),
		cmocka_unit_test(certificates_say_what_they_are),
		cmocka_unit_test(files),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
