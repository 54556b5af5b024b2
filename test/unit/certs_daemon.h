/*-------------------------------------------------------------------------
 *
 * certs_daemon.h
 *	  Certificates as files, as a daemon is given them, and a port to listen at.
 *
 *-------------------------------------------------------------------------
 */
#ifndef TEST_CERTS_DAEMON_H
#define TEST_CERTS_DAEMON_H

#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>

#include "certs.h"
#include "net/net.h"

/* A port that was free a moment ago. */
static inline int
free_port(void)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
	socklen_t	len = sizeof(in);
	int			fd = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(bind(fd, (struct sockaddr *) &in, sizeof(in)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *) &in, &len), 0);
	close(fd);
	return ntohs(in.sin_port);
}

/* Of one who is signed by this CA, and believes it. */
static inline NetTls *
tls_of(const TestCa *signer, WireRole role, const char *name)
{
	static int	n;
	char		path[3][200];
	WireTlsFiles files = {path[0], path[1], path[2]};
	TestCert	cert;
	NetTls	   *tls;
	VtError		err = {0};

	for (int i = 0; i < 3; i++)
	{
		char		file[32];

		snprintf(file, sizeof(file), "%d.pem", n++);
		snprintf(path[i], sizeof(path[i]), "%s", scratch_path(file));
	}
	cert_make(&cert, signer, role, name);
	write_whole(path[0], buf_bytes(&signer->cert), 0644);
	write_whole(path[1], buf_bytes(&cert.cert), 0644);
	write_whole(path[2], buf_bytes(&cert.key), 0600);
	if (net_tls_open(&files, role, &tls, &err) != VT_OK)
		fail_msg("%s", vt_error_words(&err));
	cert_free(&cert);
	return tls;
}

#endif							/* TEST_CERTS_DAEMON_H */
