/*-------------------------------------------------------------------------
 *
 * certs.h
 *	  vectronctl certs: the cluster's CA and what it certifies, in files.
 *
 *-------------------------------------------------------------------------
 */
#ifndef CTL_CERTS_H
#define CTL_CERTS_H

/* argv[0] is "certs".  The exit status. */
extern int	certs_main(int argc, char **argv);

#endif							/* CTL_CERTS_H */
