/* SPDX-License-Identifier: Apache-2.0 */
/*
 * config: a site's configuration file of any bytes; the words and ids that
 * people type; the names that a certificate or an operator gives. A file is
 * refused with a sentence, or everything the site relies on holds of it.
 */
#include "fuzz.h"

#include "backend/tls.h"
#include "config.h"
#include "names.h"
#include "testing.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

static bool is_name(const char *text)
{
	return text != NULL && text[0] != 0 && strlen(text) <= SITE_NAME_MAX &&
	       strpbrk(text, "/\n\r\t\"") == NULL && text[0] != '.';
}

static void check_vm(const struct site_config *config,
		     const struct site_vm *vm)
{
	bool found = false;

	fuzz_must(is_name(vm->name), "a VM's name");
	for (size_t i = 0; i < config->policy_count; i++)
		found |= vm->policy == &config->policies[i];
	fuzz_must(found, "a VM without a policy");
	fuzz_must(vm->disk_count > 0 && vm->disk_count <= SITE_DISKS_MAX,
		  "a VM's disks");
	for (size_t i = 0; i < vm->disk_count; i++) {
		fuzz_must(is_name(vm->disks[i].name) &&
				  vm->disks[i].path != NULL &&
				  vm->disks[i].path[0] != 0,
			  "a disk");
		for (size_t k = 0; k < i; k++)
			fuzz_must(strcmp(vm->disks[i].name,
					 vm->disks[k].name) != 0 &&
					  strcmp(vm->disks[i].path,
						 vm->disks[k].path) != 0,
				  "two disks are one");
	}
}

static void check_config(const struct site_config *config)
{
	fuzz_must(is_name(config->name), "a site's name");
	fuzz_must(config->state != NULL && config->storage != NULL &&
			  config->control != NULL && config->nbd != NULL &&
			  config->file != NULL,
		  "what a site needs is not there");
	fuzz_must(config->start_without_peer <= SITE_START_REFUSE,
		  "start-without-peer");
	fuzz_must(config->retry_ms >= 10 &&
			  config->retry_ms <= config->retry_max_ms &&
			  config->retry_max_ms <= 3600000,
		  "the pauses between connection attempts");
	fuzz_must((config->authority == NULL) == (config->key == NULL) &&
			  (config->authority == NULL) ==
				  (config->certificate == NULL),
		  "some of the certificates");
	fuzz_must(config->authority == NULL || config->keytab == NULL,
		  "two kinds of proof");
	fuzz_must((config->peer_count == 0 && config->listen_address == NULL) ||
			  config->authority != NULL || config->keytab != NULL,
		  "a network without proof");
	fuzz_must(config->listen_address == NULL || config->listen_port > 0,
		  "a port to listen on");
	for (size_t i = 0; i < config->peer_count; i++)
		fuzz_must(config->peers[i].name != NULL &&
				  (config->peers[i].address == NULL ||
				   config->peers[i].port > 0) &&
				  strcmp(config->peers[i].name,
					 config->name) != 0,
			  "a peer");
	/* Deny by default: an entry allows what it names, and names somebody. */
	for (size_t i = 0; i < config->authorisation_count; i++)
		fuzz_must(config->authorisations[i].peer != NULL &&
				  config->authorisations[i].peer[0] != 0 &&
				  (config->authorisations[i].verbs == 0) ==
					  config->authorisations[i].deny &&
				  (config->authorisations[i].verbs &
				   ~HVREPL_VERB_ALL) == 0 &&
				  hvrepl_peer_pattern_check(
					  config->authorisations[i].peer,
					  NULL) == HVREPL_OK,
			  "an authorisation");
	fuzz_must(config->policy_count > 0, "no policy");
	for (size_t i = 0; i < config->policy_count; i++)
		fuzz_must(config->policies[i].points <= 24 &&
				  config->policies[i].interval_ms >= 100 &&
				  config->policies[i].interval_ms <= 86400000,
			  "a policy");
	for (size_t i = 0; i < config->vm_count; i++)
		check_vm(config, &config->vms[i]);
}

static void file(const uint8_t *bytes, size_t length)
{
	struct hvrepl_error error = HVREPL_ERROR_INIT;
	struct site_config *config = NULL;
	char path[64];
	int fd = memfd_create("config", 0);
	int32_t rc;

	fuzz_must(fd >= 0 && write(fd, bytes, length) == (ssize_t)length,
		  "no file");
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	rc = site_config_load(path, &config, &error);
	if (rc == HVREPL_OK) {
		fuzz_must(config != NULL, "nothing is loaded");
		check_config(config);
	} else {
		fuzz_must(config == NULL && error.code == rc &&
				  memchr(error.sentence, 0,
					 sizeof(error.sentence)) != NULL &&
				  strlen(error.sentence) > 8,
			  "a refusal without a sentence");
	}
	site_config_free(config);
	close(fd);
}

static void words(const char *text)
{
	struct hvrepl_uuid id, again;
	char written[UUID_TEXT], name[HVREPL_PEER_NAME_MAX + 1],
		twice[HVREPL_PEER_NAME_MAX + 1];
	uint32_t number = 0;

	if (uuid_parse(text, &id)) {
		uuid_text(&id, written);
		fuzz_must(strcasecmp(written, text) == 0 &&
				  uuid_parse(written, &again) &&
				  memcmp(&id, &again, sizeof(id)) == 0,
			  "an id has two forms");
	}
	if (operation_of_name(text, &number))
		fuzz_must(strcasecmp(name_of_operation(number), text) == 0 &&
				  number > 0 && number < HVREPL_OPERATION_COUNT,
			  "an operation's name");
	if (state_of_name(text, &number))
		fuzz_must(strcasecmp(name_of_state(number), text) == 0,
			  "a state's name");
	if (ownership_of_name(text, &number))
		fuzz_must(strcasecmp(name_of_ownership(number), text) == 0,
			  "an ownership's name");
	/* What an authorisation is looked up by: one spelling, no pattern. */
	if (hvri_tls_canonical(text, name)) {
		fuzz_must(strlen(name) <= HVREPL_PEER_NAME_MAX &&
				  strpbrk(name, "*/\\ \n") == NULL &&
				  name[0] != 0,
			  "a peer's name");
		fuzz_must(hvri_tls_canonical(name, twice) &&
				  strcmp(name, twice) == 0,
			  "a name is not in one spelling");
	}
}

static void one(const uint8_t *bytes, size_t length)
{
	char *text;

	if (length == 0)
		return;
	if (bytes[0] % 2 == 0) {
		file(bytes + 1, length - 1);
		return;
	}
	text = malloc(length);
	fuzz_must(text != NULL, "no memory");
	memcpy(text, bytes + 1, length - 1);
	text[length - 1] = 0;
	words(text);
	free(text);
}

static void put(uint8_t kind, const char *text)
{
	size_t length = strlen(text);
	uint8_t *bytes = malloc(1 + length);

	fuzz_must(bytes != NULL, "no memory");
	bytes[0] = kind;
	memcpy(bytes + 1, text, length);
	fuzz_seed(bytes, 1 + length);
	free(bytes);
}

static void seeds(void)
{
	static const char *const typed[] = {
		"01234567-89ab-cdef-0123-456789abcdef", "planned-failover",
		"Replicating", "superseded", "HOST.example.", "10.0.0.1",
		"2001:DB8::1", "*.example.org", "cut", "-", "..",
	};

	put(0, "site \"east\" { state = \"s\" storage = \"/t\" "
	       "replicas = \"r\" control = \"c.sock\" nbd = \"n.sock\" "
	       "start-wait = \"500ms\" start-without-peer = \"refuse\" "
	       "retry = \"50ms\" retry-max = \"5s\" "
	       "spool = \"16M\" compression = 3 }\n"
	       "certificates { authority = \"a\" certificate = \"b\" "
	       "key = \"c\" }\n"
	       "listen { address = \"127.0.0.1\" port = 7411 }\n"
	       "peer \"west\" { address = \"10.0.0.2\" port = 7411 }\n"
	       "peer \"north\" { }\n"
	       "authorise \"west\" { verbs = {\"enable\", \"receive\", "
	       "\"reverse\", \"overwrite\"} trust-group = \"pair\" }\n"
	       "policy \"fast\" { interval = \"1s\" points = 24 }\n"
	       "vm \"web\" { policy = \"fast\" capture = \"cuts\" "
	       "capture-interval = \"2s\"\n"
	       "disk \"root\" { path = \"root.img\" }\n"
	       "disk \"data\" { path = \"/d.img\" exclusive = true } }\n");
	put(0, "# nothing\nsite \"a\" { state = \"s\" storage = \"t\" "
	       "control = \"c\" nbd = \"localhost:10809\" }\n");
	put(0, "site \"a\" { state = \"${HOME}\" }");
	put(0, "site \"a\" { /* open");
	for (size_t i = 0; i < sizeof(typed) / sizeof(typed[0]); i++)
		put(1, typed[i]);
}

extern const struct fuzz_target fuzz_config;
const struct fuzz_target fuzz_config = { "config", one, seeds, NULL };
