/* SPDX-License-Identifier: Apache-2.0 */
/* Own certificate, its key and the CA file, read whole and checked. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (4u << 20)
#define PIECE 65536u

static const char *openssl_reason(void)
{
	const char *reason = ERR_reason_error_string(ERR_peek_error());

	return reason != NULL ? reason : "nothing of that kind in it";
}

static int32_t unusable(struct hvrepl_error *error, const char *what,
			const char *path)
{
	const char *reason = openssl_reason();

	ERR_clear_error();
	return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
			     "%s is not a usable PEM %s: %s", path, what,
			     reason);
}

int32_t hvri_tls_file(const char *path, const char *what, size_t max,
		      BIO **out, struct hvrepl_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	BIO *bio = BIO_new(BIO_s_mem());
	char piece[PIECE];
	size_t total = 0;
	ssize_t got = -1;
	struct stat st;
	int failed = 0;

	if (fd < 0 || fstat(fd, &st) != 0)
		failed = errno;
	else if (!S_ISREG(st.st_mode))
		failed = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	while (failed == 0 && bio != NULL && total <= max) {
		got = read(fd, piece, sizeof(piece));
		if (got < 0 && errno == EINTR)
			continue;
		failed = got < 0 ? errno : 0;
		if (got <= 0)
			break;
		total += (size_t)got;
		if (BIO_write(bio, piece, (int)got) != (int)got) {
			BIO_free(bio);
			bio = NULL;
		}
	}
	if (fd >= 0)
		close(fd);
	OPENSSL_cleanse(piece, sizeof(piece));
	if (failed == 0 && bio != NULL && total <= max) {
		*out = bio;
		return HVREPL_OK;
	}
	if (bio == NULL && failed == 0)
		return hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	BIO_free(bio);
	if (failed != 0)
		return hvri_sys_fail(error,
				     hvri_sys_code(failed, HVREPL_E_INVALID),
				     failed, "cannot read the %s %s: %s", what,
				     path, strerror(failed));
	return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
			     "the %s %s has more than %zu bytes: is it the "
			     "right file?", what, path, max);
}

/* Certificates until there are no more; false: one is damaged. */
static bool read_all(BIO *bio, STACK_OF(X509) *into)
{
	unsigned long last;

	for (;;) {
		X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

		if (cert == NULL)
			break;
		if (sk_X509_push(into, cert) <= 0) {
			X509_free(cert);
			return false;
		}
	}
	last = ERR_peek_last_error();
	if (ERR_GET_LIB(last) != ERR_LIB_PEM ||
	    ERR_GET_REASON(last) != PEM_R_NO_START_LINE)
		return false;
	ERR_clear_error();
	return true;
}

/* Nobody is asked for a password: this may be a daemon on a terminal. */
static int no_password(char *buffer, int size, int writing, void *user)
{
	(void)buffer, (void)size, (void)writing, (void)user;
	return -1;
}

static int32_t read_key(const char *path, EVP_PKEY **out,
			struct hvrepl_error *error)
{
	BIO *bio;
	int32_t rc = hvri_tls_file(path, "key", FILE_MAX, &bio, error);

	if (rc < 0)
		return rc;
	*out = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	BIO_free(bio);
	if (*out != NULL)
		return HVREPL_OK;
	if (ERR_GET_REASON(ERR_peek_last_error()) == PEM_R_BAD_PASSWORD_READ) {
		ERR_clear_error();
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "the key in %s is encrypted: keep it "
				     "plain, in a file that only this user may "
				     "read", path);
	}
	return unusable(error, "key", path);
}

static int32_t read_anchors(const char *path, STACK_OF(X509) *into,
			    struct hvrepl_error *error)
{
	BIO *bio;
	int32_t rc = hvri_tls_file(path, "CA file", FILE_MAX, &bio, error);
	bool fine;

	if (rc < 0)
		return rc;
	fine = read_all(bio, into) && sk_X509_num(into) > 0;
	BIO_free(bio);
	return fine ? HVREPL_OK : unusable(error, "CA file", path);
}

static int32_t read_own(const char *path, struct hvri_tls_material *material,
			struct hvrepl_error *error)
{
	BIO *bio;
	int32_t rc = hvri_tls_file(path, "certificate", FILE_MAX, &bio, error);
	bool fine;

	if (rc < 0)
		return rc;
	material->cert = PEM_read_bio_X509_AUX(bio, NULL, no_password, NULL);
	fine = material->cert != NULL && read_all(bio, material->chain);
	BIO_free(bio);
	return fine ? HVREPL_OK : unusable(error, "certificate", path);
}

int32_t hvri_tls_material_read(const struct hvri_tls_sources *sources,
			       struct hvri_tls_material *out,
			       struct hvrepl_error *error)
{
	struct hvri_tls_material material = {
		.chain = sk_X509_new_null(),
		.anchors = sk_X509_new_null(),
	};
	int32_t rc = HVREPL_OK;

	ERR_clear_error();
	if (material.chain == NULL || material.anchors == NULL)
		rc = hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	if (rc == HVREPL_OK)
		rc = read_anchors(sources->ca, material.anchors, error);
	if (rc == HVREPL_OK)
		rc = read_own(sources->cert, &material, error);
	if (rc == HVREPL_OK)
		rc = read_key(sources->key, &material.key, error);
	if (rc == HVREPL_OK &&
	    X509_check_private_key(material.cert, material.key) != 1) {
		ERR_clear_error();
		rc = hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				   "the key in %s does not belong to the "
				   "certificate in %s",
				   sources->key, sources->cert);
	}
	if (rc < 0)
		hvri_tls_material_free(&material);
	else
		*out = material;
	return rc;
}

bool hvri_tls_material_copy(const struct hvri_tls_material *from,
			    struct hvri_tls_material *out)
{
	struct hvri_tls_material material = {
		.chain = X509_chain_up_ref(from->chain),
		.anchors = X509_chain_up_ref(from->anchors),
	};

	if (material.chain == NULL || material.anchors == NULL) {
		hvri_tls_material_free(&material);
		return false;
	}
	X509_up_ref(from->cert);
	EVP_PKEY_up_ref(from->key);
	material.cert = from->cert;
	material.key = from->key;
	*out = material;
	return true;
}

void hvri_tls_material_free(struct hvri_tls_material *material)
{
	X509_free(material->cert);
	EVP_PKEY_free(material->key);
	sk_X509_pop_free(material->chain, X509_free);
	sk_X509_pop_free(material->anchors, X509_free);
	*material = (struct hvri_tls_material){ 0 };
}
