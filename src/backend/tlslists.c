/* SPDX-License-Identifier: Apache-2.0 */
/* Revocation lists from a file or a directory, and whether they changed. */
#include "backend/fileio.h"
#include "backend/tls.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define LIST_MAX (64u << 20)
#define FILES_MAX 4096

/* Files that are made anew beside the old one, or by an editor, do not count. */
static int is_list(const struct dirent *entry)
{
	const char *suffix = strrchr(entry->d_name, '.');

	if (suffix == NULL || entry->d_name[0] == '.')
		return 0;
	return strcmp(suffix, ".pem") == 0 || strcmp(suffix, ".crl") == 0 ||
	       (suffix[1] == 'r' && isdigit((unsigned char)suffix[2]) &&
		suffix[3] == 0);
}

static char *joined(const char *path, const char *name)
{
	size_t size = strlen(path) + strlen(name) + 2;
	char *whole = malloc(size);

	if (whole != NULL)
		snprintf(whole, size, "%s/%s", path, name);
	return whole;
}

static void free_files(char **files, int count)
{
	for (int i = 0; i < count; i++)
		free(files[i]);
	free(files);
}

/* The files meant by `path`, whole paths in order; negative: errno. */
static int files_of(const char *path, char ***files_out)
{
	struct dirent **entries;
	struct stat st;
	char **files;
	int count, made = 0;

	if (stat(path, &st) != 0)
		return -errno;
	if (!S_ISDIR(st.st_mode)) {
		files = calloc(1, sizeof(*files));
		if (files == NULL)
			return -ENOMEM;
		files[0] = strdup(path);
		*files_out = files;
		return files[0] != NULL ? 1 : (free(files), -ENOMEM);
	}
	count = scandir(path, &entries, is_list, alphasort);
	if (count < 0)
		return -errno;
	files = calloc((size_t)count + 1, sizeof(*files));
	while (files != NULL && made < count) {
		files[made] = joined(path, entries[made]->d_name);
		if (files[made] == NULL)
			break;
		made++;
	}
	for (int i = 0; i < count; i++)
		free(entries[i]);
	free(entries);
	/* All or none: a list that is left out would be a revocation unseen. */
	if (files == NULL || made < count) {
		free_files(files, made);
		return -ENOMEM;
	}
	*files_out = files;
	return made;
}

static void mix(uint64_t *hash, const void *bytes, size_t length)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < length; i++)
		*hash = (*hash ^ at[i]) * 0x100000001b3ull; /* FNV-1a */
}

static uint64_t signature_of(char **files, int count)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (int i = 0; i < count; i++) {
		struct stat st;

		mix(&hash, files[i], strlen(files[i]) + 1);
		if (stat(files[i], &st) != 0)
			continue;
		mix(&hash, &st.st_ino, sizeof(st.st_ino));
		mix(&hash, &st.st_size, sizeof(st.st_size));
		mix(&hash, &st.st_mtim, sizeof(st.st_mtim));
		mix(&hash, &st.st_ctim, sizeof(st.st_ctim));
	}
	return hash | 1; /* Never 0. */
}

uint64_t hvri_tls_lists_signature(const char *path)
{
	char **files;
	int count = files_of(path, &files);
	uint64_t signature;

	if (count < 0)
		return 0;
	signature = signature_of(files, count);
	free_files(files, count);
	return signature;
}

/* Takes OpenSSL's errors away; whether one is that memory was short: then the
 * list may be in order. */
static bool was_short_of_memory(void)
{
	unsigned long one;
	bool found = false;

	while ((one = ERR_get_error()) != 0)
		found = found || ERR_GET_REASON(one) == ERR_R_MALLOC_FAILURE;
	return found;
}

/* OpenSSL would take what changed since a list for the list itself, as it is the
 * newest, and let in who was revoked before. */
static bool is_delta(const X509_CRL *crl)
{
	return X509_CRL_get_ext_by_NID(crl, NID_delta_crl, -1) >= 0;
}

static int32_t read_file(const char *path, STACK_OF(X509_CRL) *into,
			 struct hvrepl_error *error)
{
	BIO *bio;
	int32_t rc = hvri_tls_file(path, "revocation list", LIST_MAX, &bio,
				   error);
	unsigned long last;
	bool delta = false;
	int found = 0;

	if (rc < 0)
		return rc;
	for (;;) {
		X509_CRL *crl = PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL);

		if (crl == NULL)
			break;
		found++;
		delta = delta || is_delta(crl);
		if (sk_X509_CRL_push(into, crl) <= 0) {
			X509_CRL_free(crl);
			rc = HVREPL_E_NOMEM;
			break;
		}
	}
	BIO_free(bio);
	last = ERR_peek_last_error();
	if (was_short_of_memory())
		rc = HVREPL_E_NOMEM;
	if (rc < 0)
		return hvri_sys_fail(error, rc, 0, "out of memory");
	if (delta)
		return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
				     "%s is a delta list, only what changed since "
				     "another: get that CA's full list", path);
	if (found > 0 && ERR_GET_LIB(last) == ERR_LIB_PEM &&
	    ERR_GET_REASON(last) == PEM_R_NO_START_LINE)
		return HVREPL_OK;
	return hvri_sys_fail(error, HVREPL_E_INVALID, 0,
			     "%s is not a revocation list in PEM, or is "
			     "damaged: get it from the CA again (in DER: "
			     "openssl crl -inform DER -out FILE)", path);
}

/* Of each issuer the newest counts; of those the one that ends first. */
static void find_first_end(struct hvri_tls_lists *lists)
{
	int count = sk_X509_CRL_num(lists->crls);

	for (int i = 0; i < count; i++) {
		X509_CRL *crl = sk_X509_CRL_value(lists->crls, i);
		uint64_t until = hvri_tls_time(X509_CRL_get0_nextUpdate(crl));
		bool newest = until != 0;

		for (int k = 0; newest && k < count; k++) {
			X509_CRL *other = sk_X509_CRL_value(lists->crls, k);

			newest = X509_CRL_cmp(crl, other) != 0 ||
				 hvri_tls_time(X509_CRL_get0_nextUpdate(
					 other)) <= until;
		}
		if (!newest ||
		    (lists->until_utc_ns != 0 && until >= lists->until_utc_ns))
			continue;
		lists->until_utc_ns = until;
		lists->from_utc_ns =
			hvri_tls_time(X509_CRL_get0_lastUpdate(crl));
		X509_NAME_oneline(X509_CRL_get_issuer(crl), lists->issuer,
				  sizeof(lists->issuer));
	}
}

int32_t hvri_tls_lists_read(const struct hvri_tls_sources *sources,
			    struct hvri_tls_lists *out,
			    struct hvrepl_error *error)
{
	struct hvri_tls_lists lists = { 0 };
	char **files = NULL;
	int32_t rc = HVREPL_OK;
	int count;

	if (sources->crl == NULL) {
		*out = lists;
		return HVREPL_OK;
	}
	count = files_of(sources->crl, &files);
	if (count < 0)
		return hvri_sys_fail(error,
				     hvri_sys_code(-count, HVREPL_E_INVALID),
				     -count, "cannot read the revocation lists "
				     "in %s: %s", sources->crl,
				     strerror(-count));
	lists.signature = signature_of(files, count);
	lists.crls = sk_X509_CRL_new_null();
	if (lists.crls == NULL)
		rc = hvri_sys_fail(error, HVREPL_E_NOMEM, 0, "out of memory");
	else if (count > FILES_MAX)
		rc = hvri_sys_fail(error, HVREPL_E_LIMIT, 0,
				   "%s has more than %d revocation lists",
				   sources->crl, FILES_MAX);
	ERR_clear_error();
	for (int i = 0; rc == HVREPL_OK && i < count; i++)
		rc = read_file(files[i], lists.crls, error);
	if (rc == HVREPL_OK && count == 0 &&
	    (sources->flags & HVREPL_TLS_ALLOW_UNKNOWN) == 0)
		rc = hvri_sys_fail(error, HVREPL_E_NOT_FOUND, 0,
				   "there is no revocation list in %s (*.pem, "
				   "*.crl): every peer would be refused; put "
				   "those of your CAs there", sources->crl);
	free_files(files, count);
	if (rc < 0) {
		hvri_tls_lists_free(&lists);
		return rc;
	}
	find_first_end(&lists);
	*out = lists;
	return HVREPL_OK;
}

void hvri_tls_lists_free(struct hvri_tls_lists *lists)
{
	sk_X509_CRL_pop_free(lists->crls, X509_CRL_free);
	*lists = (struct hvri_tls_lists){ 0 };
}
