/* SPDX-License-Identifier: Apache-2.0 */
/* Keys, certificates and lists as files: read whole, written durably, kept. */
#include "cert.h"

#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool cert_path(const struct tool_run *run, const char *dir, const char *name,
	       const char *suffix, char out[CERT_PATH_MAX])
{
	int length = snprintf(out, CERT_PATH_MAX, "%s/%s%s", dir, name, suffix);

	if (length > 0 && length < CERT_PATH_MAX)
		return true;
	tool_fail(run, TOOL_FAILED, HVREPL_E_INVALID, "The path '%.100s' is too long.",
		  dir);
	return false;
}

static bool cannot(const struct tool_run *run, const char *what,
		   const char *path, int number)
{
	int32_t code = number == ENOENT ? HVREPL_E_NOT_FOUND :
		       number == EEXIST ? HVREPL_E_EXISTS :
					  HVREPL_E_STORAGE_IO;

	if (number == EEXIST)
		tool_fail(run, TOOL_FAILED, code,
			  "%s is there already and is never overwritten. Move it away, or choose another directory.",
			  path);
	else
		tool_fail(run, TOOL_FAILED, code, "%s %s: %s.", path, what,
			  strerror(number));
	return false;
}

/* All of `bio` under a new name; errno when it fails, and nothing is left. */
static int write_new(const char *path, mode_t mode, BIO *bio)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
		      mode);
	char *bytes;
	long length = BIO_get_mem_data(bio, &bytes);
	int failed = 0;

	if (fd < 0)
		return errno;
	/* Not what the umask makes of it, in either direction. */
	if (fchmod(fd, mode) != 0)
		failed = errno;
	for (long at = 0; failed == 0 && at < length;) {
		ssize_t done = write(fd, bytes + at, (size_t)(length - at));

		if (done < 0 && errno != EINTR)
			failed = errno;
		else if (done > 0)
			at += done;
	}
	if (failed == 0 && fsync(fd) != 0)
		failed = errno;
	if (close(fd) != 0 && failed == 0)
		failed = errno;
	if (failed == 0 && directory_sync_parent(path) != 0)
		failed = errno;
	if (failed != 0)
		unlink(path);
	return failed;
}

static bool write_bio(const struct tool_run *run, const char *path, mode_t mode,
		      bool replace, BIO *bio, int encoded)
{
	char aside[CERT_PATH_MAX];
	int failed;

	if (bio == NULL || encoded != 1) {
		BIO_free(bio);
		cert_failed(run, path);
		return false;
	}
	if (!replace) {
		failed = write_new(path, mode, bio);
	} else if (snprintf(aside, sizeof(aside), "%s.new", path) >=
		   CERT_PATH_MAX) {
		failed = ENAMETOOLONG;
	} else {
		/* What a run that was killed left. */
		unlink(aside);
		failed = write_new(aside, mode, bio);
		if (failed == 0 && rename(aside, path) != 0)
			failed = errno;
		if (failed == 0 && directory_sync_parent(path) != 0)
			failed = errno;
	}
	BIO_free(bio);
	return failed == 0 || cannot(run, "cannot be written", path, failed);
}

bool cert_write_key(const struct tool_run *run, const char *path, EVP_PKEY *key)
{
	BIO *bio = BIO_new(BIO_s_secmem());
	int fine = bio != NULL && PEM_write_bio_PrivateKey(bio, key, NULL, NULL,
							   0, NULL, NULL);

	return write_bio(run, path, 0600, false, bio, fine);
}

bool cert_write_cert(const struct tool_run *run, const char *path, X509 *cert)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return write_bio(run, path, 0644, false, bio,
			 bio != NULL && PEM_write_bio_X509(bio, cert));
}

bool cert_write_list(const struct tool_run *run, const char *path,
		     X509_CRL *crl, bool replace)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return write_bio(run, path, 0644, replace, bio,
			 bio != NULL && PEM_write_bio_X509_CRL(bio, crl));
}

static FILE *open_file(const struct tool_run *run, const char *path)
{
	FILE *file = fopen(path, "re");

	if (file == NULL)
		cannot(run, "cannot be read", path, errno);
	return file;
}

static void not_one(const struct tool_run *run, const char *path,
		    const char *what)
{
	ERR_clear_error();
	tool_fail(run, TOOL_FAILED, HVREPL_E_INVALID,
		  "%s is not %s in PEM. Name the right file.", path, what);
}

static int no_password(char *buffer, int size, int writing, void *user)
{
	(void)buffer, (void)size, (void)writing, (void)user;
	return -1;
}

EVP_PKEY *cert_read_key(const struct tool_run *run, const char *path)
{
	FILE *file = open_file(run, path);
	EVP_PKEY *key;

	if (file == NULL)
		return NULL;
	key = PEM_read_PrivateKey(file, NULL, no_password, NULL);
	fclose(file);
	if (key == NULL)
		not_one(run, path, "a key without a password");
	return key;
}

X509 *cert_read_cert(const struct tool_run *run, const char *path)
{
	FILE *file = open_file(run, path);
	X509 *cert;

	if (file == NULL)
		return NULL;
	cert = PEM_read_X509(file, NULL, no_password, NULL);
	fclose(file);
	if (cert == NULL)
		not_one(run, path, "a certificate");
	return cert;
}

X509_CRL *cert_read_list(const struct tool_run *run, const char *path)
{
	FILE *file = fopen(path, "re");
	X509_CRL *list;

	if (file == NULL && errno == ENOENT) {
		tool_fail(run, TOOL_FAILED, HVREPL_E_NOT_FOUND,
			  "There is no %s. Restore the last one, so that nobody who was revoked is let in again.",
			  path);
		return NULL;
	}
	if (file == NULL) {
		cannot(run, "cannot be read", path, errno);
		return NULL;
	}
	list = PEM_read_X509_CRL(file, NULL, NULL, NULL);
	fclose(file);
	if (list == NULL)
		not_one(run, path, "a revocation list");
	return list;
}

bool cert_ca_open(const struct tool_run *run, struct cert_ca *ca)
{
	const char *dir = tool_option(run, "ca");
	char path[CERT_PATH_MAX];

	memset(ca, 0, sizeof(*ca));
	if (dir == NULL) {
		tool_fail(run, TOOL_USAGE, HVREPL_E_INVALID,
			  "'%s' needs --ca DIR, the directory that 'hvrepl cert init' made.",
			  run->verb->name);
		return false;
	}
	if (cert_path(run, dir, "ca", ".pem", path))
		ca->cert = cert_read_cert(run, path);
	if (ca->cert != NULL && cert_path(run, dir, "ca", ".key", path))
		ca->key = cert_read_key(run, path);
	if (ca->key == NULL) {
		cert_ca_close(ca);
		return false;
	}
	if (X509_check_private_key(ca->cert, ca->key) == 1 &&
	    X509_check_ca(ca->cert) == 1)
		return true;
	ERR_clear_error();
	tool_fail(run, TOOL_FAILED, HVREPL_E_INVALID,
		  "ca.pem in %s is no CA's, or ca.key is another one's. Restore them from where they are kept.",
		  dir);
	cert_ca_close(ca);
	return false;
}

void cert_ca_close(struct cert_ca *ca)
{
	EVP_PKEY_free(ca->key);
	X509_free(ca->cert);
	memset(ca, 0, sizeof(*ca));
}
