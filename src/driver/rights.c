/* SPDX-License-Identifier: Apache-2.0 */
/* Entries: added, looked up, told; sessions that lost a right end. */
#include "driver/rights.h"

#include "base/abi.h"
#include "base/name.h"
#include "base/text.h"
#include "driver/vm.h"

#include <stdio.h>
#include <string.h>

#define SECOND_NS 1000000000ull
/* Seconds of rate_max that a peer which was silent may send at once. */
#define BURST_SECONDS 2u
/* After a silence of that the burst is full at any rate. */
#define RATE_MEMORY_NS (16 * SECOND_NS)
#define RATE_MAX (1ull << 39)

static struct hvri_entry *entry_named(const struct hvrepl_node *node,
				      const char *peer)
{
	struct hvri_entry *entry = node->entries;

	while (entry != NULL &&
	       (entry->gone || strcmp(entry->peer, peer) != 0))
		entry = entry->next;
	return entry;
}

struct hvri_entry *hvri_node_entry(const struct hvrepl_node *node,
				   const char *peer)
{
	char name[HVREPL_PEER_NAME_MAX + 1];
	struct hvri_entry *entry;

	if (!hvri_name_ok(peer))
		return NULL;
	hvri_text(name, sizeof(name), peer);
	hvri_name_fold(name);
	entry = entry_named(node, name);
	if (entry != NULL)
		return entry;
	for (entry = node->entries; entry != NULL; entry = entry->next)
		if (!entry->gone && hvri_pattern_is_wild(entry->peer) &&
		    hvri_pattern_matches(entry->peer, name))
			return entry;
	return NULL;
}

uint32_t hvri_node_verbs(const struct hvrepl_node *node, const char *peer)
{
	const struct hvri_entry *entry = hvri_node_entry(node, peer);

	return entry == NULL ? 0 : entry->verbs;
}

/* ---- What a VM is bound to. ---- */

bool hvri_node_same_trust(const struct hvrepl_node *node, const char *peer,
			  const struct hvri_vm *vm)
{
	const struct hvri_entry *entry;

	if (vm->peer_name[0] == 0)
		return false;
	if (vm->binding.trust_group[0] == 0)
		return strcmp(peer, vm->peer_name) == 0;
	entry = hvri_node_entry(node, peer);
	return entry != NULL && strcmp(entry->trust_group,
				       vm->binding.trust_group) == 0;
}

static void decide_group(struct hvri_vm *vm, const char *trust_group)
{
	snprintf(vm->binding.trust_group, sizeof(vm->binding.trust_group),
		 "%s", trust_group);
	vm->binding.group_decided = true;
}

void hvri_vm_bind(struct hvri_vm *vm, const char *peer)
{
	const struct hvri_entry *entry = hvri_node_entry(vm->node, peer);

	snprintf(vm->peer_name, sizeof(vm->peer_name), "%s", peer);
	memset(&vm->binding, 0, sizeof(vm->binding));
	if (entry == NULL)
		return;
	decide_group(vm, entry->trust_group);
	snprintf(vm->binding.storage_root, sizeof(vm->binding.storage_root),
		 "%s", entry->storage_root);
}

void hvri_vm_bind_late(struct hvri_vm *vm, const char *peer)
{
	const struct hvri_entry *entry = hvri_node_entry(vm->node, peer);
	struct hvri_vm_event *save;

	if (entry == NULL || vm->binding.group_decided || vm->closing ||
	    vm->forget || strcmp(peer, vm->peer_name) != 0)
		return;
	save = hvri_vm_event_new(vm, HVRI_EVENT_SAVE);
	if (save == NULL)
		return; /* At the next session: until then its peer alone. */
	decide_group(vm, entry->trust_group);
	hvri_vm_feed(vm, save);
}

int32_t hvri_vm_set_trust_group(struct hvrepl_node *node,
				const struct hvrepl_uuid *id,
				const char *trust_group,
				struct hvrepl_error *error)
{
	struct hvri_vm *vm = hvri_node_find_vm(node, id);
	struct hvri_vm_event *event;

	if (vm == NULL)
		return hvri_fail(error, HVREPL_E_NOT_FOUND,
				 "this site has no such VM");
	if (strlen(trust_group) > HVREPL_TRUST_GROUP_MAX)
		return hvri_fail(error, HVREPL_E_INVALID,
				 "a trust group's name has at most %u bytes",
				 HVREPL_TRUST_GROUP_MAX);
	HVRI_TRY(hvri_vm_changeable(vm, error));
	if (vm->relationship.record.mode == HVREPL_MODE_NONE)
		return hvri_fail(error, HVREPL_E_STATE,
				 "VM %s is not replicated: it is bound to a "
				 "trust group when it is enabled",
				 vm->name);
	event = hvri_vm_event_new(vm, HVRI_EVENT_SAVE);
	if (event == NULL)
		return hvri_fail_plain(error, HVREPL_E_NOMEM);
	decide_group(vm, trust_group);
	hvri_vm_feed(vm, event);
	hvri_vm_find_session(vm);
	return HVREPL_OK;
}

/* ---- Quotas. ---- */

/* One that is being made counts, and one that has disks though its making failed: many
 * that are asked for at once are as many. */
static bool counts(const struct hvrepl_node *node, const struct hvri_vm *vm,
		   const struct hvri_entry *entry)
{
	return !vm->own && !vm->finished && !vm->forget &&
	       (vm->relationship.record.mode != HVREPL_MODE_NONE ||
		vm->relationship.pending.create != 0 || vm->disk_count > 0) &&
	       hvri_node_entry(node, vm->peer_name) == entry;
}

static void count_vms(const struct hvrepl_node *node,
		      const struct hvri_entry *entry,
		      const struct hvri_vm *except, uint32_t *vms_out,
		      uint64_t *bytes_out)
{
	*vms_out = 0;
	*bytes_out = 0;
	for (const struct hvri_vm *vm = node->vms; vm != NULL; vm = vm->next) {
		const struct hvri_record *record = &vm->relationship.record;

		if (vm == except || !counts(node, vm, entry))
			continue;
		(*vms_out)++;
		for (uint32_t i = 0; i < record->disk_count; i++)
			if (__builtin_add_overflow(*bytes_out,
						   record->disks[i].size,
						   bytes_out))
				*bytes_out = UINT64_MAX;
	}
}

int32_t hvri_rights_fit(const struct hvrepl_node *node,
			const struct hvri_entry *entry,
			const struct hvri_vm *except, uint64_t disk_bytes,
			uint32_t points, char sentence[HVRI_SENTENCE_MAX + 1])
{
	uint64_t bytes;
	uint32_t vms;

	count_vms(node, entry, except, &vms, &bytes);
	if (__builtin_add_overflow(bytes, disk_bytes, &bytes))
		bytes = UINT64_MAX;
	if (entry->relationships_max != 0 && vms >= entry->relationships_max)
		snprintf(sentence, HVRI_SENTENCE_MAX + 1,
			 "the other site's entry '%.100s' lets in %u VMs and "
			 "they are there: raise that, or remove one",
			 entry->peer, entry->relationships_max);
	else if (entry->bytes_max != 0 && bytes > entry->bytes_max)
		snprintf(sentence, HVRI_SENTENCE_MAX + 1,
			 "with this VM the disks of the other site's entry "
			 "'%.80s' would have %llu bytes and it allows %llu: "
			 "raise that, or remove a VM",
			 entry->peer, (unsigned long long)bytes,
			 (unsigned long long)entry->bytes_max);
	else if (entry->points_max != 0 && points > entry->points_max)
		snprintf(sentence, HVRI_SENTENCE_MAX + 1,
			 "the VM asks for %u recovery points and the other "
			 "site's entry '%.80s' allows %u: ask for fewer, or "
			 "raise that",
			 points, entry->peer, entry->points_max);
	else
		return HVREPL_OK;
	return HVREPL_E_LIMIT;
}

int32_t hvri_rights_admit(const struct hvrepl_node *node, const char *peer,
			  const struct hvri_vm *vm,
			  const struct hvri_setup *setup,
			  char sentence[HVRI_SENTENCE_MAX + 1])
{
	const struct hvri_entry *entry = hvri_node_entry(node, peer);
	uint64_t bytes = 0;

	if (entry == NULL)
		return HVREPL_OK; /* Then it may not enable in the first place. */
	for (uint32_t i = 0; i < setup->disk_count; i++)
		if (__builtin_add_overflow(bytes, setup->disks[i].size, &bytes))
			bytes = UINT64_MAX;
	return hvri_rights_fit(node, entry, vm, bytes, setup->policy.points_max,
			       sentence);
}

void hvri_rights_clip(const struct hvrepl_node *node,
		      const struct hvri_entry *entry, uint64_t *free_inout,
		      uint64_t *total_inout)
{
	uint64_t bytes;
	uint32_t vms;

	if (entry->bytes_max == 0)
		return;
	count_vms(node, entry, NULL, &vms, &bytes);
	*free_inout = HVRI_MIN(*free_inout, entry->bytes_max > bytes ?
						    entry->bytes_max - bytes :
						    0);
	*total_inout = HVRI_MIN(*total_inout, entry->bytes_max);
}

/* What it may send by now. */
static void refill(const struct hvrepl_node *node, struct hvri_entry *entry)
{
	uint64_t now = hvri_now(&node->env), most, passed, more = 0;

	/* One frame always fits, or nothing would ever come. */
	most = HVRI_MAX(entry->rate_max, HVRI_FRAME_CHUNK_MAX) * BURST_SECONDS;
	passed = now - entry->filled_ns;
	if (entry->filled_ns == 0 || passed > RATE_MEMORY_NS)
		entry->allowance = most;
	else /* RATE_MAX keeps that below 2^64. */
		more = passed / 1000 * entry->rate_max / 1000000;
	/* What is less than a byte is not lost by being asked often. */
	if (more > 0 || entry->filled_ns == 0 || passed > RATE_MEMORY_NS)
		entry->filled_ns = now;
	entry->allowance = HVRI_MIN(entry->allowance + more, most);
}

const struct hvri_entry *hvri_rights_rate_due(struct hvrepl_node *node,
					      const char *peer)
{
	struct hvri_entry *entry = hvri_node_entry(node, peer);

	if (entry == NULL || entry->rate_max == 0)
		return NULL;
	refill(node, entry);
	return entry->allowance < HVRI_FRAME_CHUNK_MAX ? NULL : entry;
}

uint64_t hvri_rights_allow(struct hvrepl_node *node, const char *peer,
			   uint64_t bytes)
{
	struct hvri_entry *entry = hvri_node_entry(node, peer);

	if (entry == NULL || entry->rate_max == 0)
		return bytes;
	refill(node, entry);
	bytes = HVRI_MIN(bytes, entry->allowance);
	if (bytes < HVRI_FRAME_CHUNK_MAX)
		return 0;
	entry->allowance -= bytes;
	return bytes;
}

/* ---- Adding and telling. ---- */

static bool fits(const struct hvrepl_authorisation *given)
{
	return given->reserved == 0 &&
	       hvri_pattern_check(given->peer, NULL) == HVREPL_OK &&
	       (given->trust_group == NULL ||
		strlen(given->trust_group) <= HVREPL_TRUST_GROUP_MAX) &&
	       (given->storage_root == NULL ||
		strlen(given->storage_root) <= HVREPL_STORAGE_ROOT_MAX) &&
	       given->points_max <= 24 &&
	       (given->rate_max == 0 || (given->rate_max >= HVREPL_RATE_MIN &&
					 given->rate_max <= RATE_MAX)) &&
	       ((given->flags & HVREPL_AUTHORISATION_DENY) == 0 ||
		given->verbs == 0);
}

static struct hvri_entry *place_for(struct hvrepl_node *node)
{
	struct hvri_entry *entry = node->entries;

	while (entry != NULL && !entry->gone)
		entry = entry->next;
	if (entry != NULL)
		return entry;
	entry = hvri_alloc(&node->env, sizeof(*entry));
	if (entry == NULL)
		return NULL;
	entry->gone = true;
	entry->next = node->entries;
	node->entries = entry;
	return entry;
}

/* All but the verbs. */
static bool same_terms(const struct hvri_entry *a, const struct hvri_entry *b)
{
	return strcmp(a->trust_group, b->trust_group) == 0 &&
	       strcmp(a->storage_root, b->storage_root) == 0 &&
	       a->flags == b->flags &&
	       a->relationships_max == b->relationships_max &&
	       a->points_max == b->points_max &&
	       a->bytes_max == b->bytes_max && a->rate_max == b->rate_max;
}

static void name_verbs(uint32_t verbs, char *out, size_t size)
{
	size_t used = 0;

	out[0] = 0;
	for (uint32_t i = 0; i < HVREPL_VERB_COUNT && used < size; i++)
		if ((verbs >> i & 1) != 0)
			used += (size_t)snprintf(out + used, size - used,
						 "%s%s", used == 0 ? "" : ", ",
						 hvrepl_verb_name(i));
}

static void note_entry(struct hvrepl_node *node, const struct hvri_entry *entry,
		       const char *what)
{
	char verbs[96];

	name_verbs(entry->verbs, verbs, sizeof(verbs));
	hvri_note(node, HVREPL_AUDIT_RIGHTS, HVREPL_SEVERITY_INFO, HVREPL_OK,
		  NULL, "the authorisation entry '%.100s' %s%s%s", entry->peer,
		  what, verbs[0] != 0 ? " " : "",
		  verbs[0] != 0 || entry->flags == 0 ? verbs : " nothing");
}

int32_t hvri_node_authorise(struct hvrepl_node *node,
			    const struct hvrepl_authorisation *config)
{
	struct hvrepl_authorisation given;
	struct hvri_entry fresh = { 0 }, *entry;

	HVRI_TRY(hvri_abi_copy_in(&given, sizeof(given),
				  HVRI_SIZE_UP_TO(struct hvrepl_authorisation,
						  trust_group),
				  config));
	if (given.peer == NULL || !fits(&given))
		return HVREPL_E_INVALID;
	if ((given.verbs & ~HVREPL_VERB_ALL) != 0 ||
	    (given.flags & ~HVREPL_AUTHORISATION_DENY) != 0)
		return HVREPL_E_TOO_NEW;
	snprintf(fresh.peer, sizeof(fresh.peer), "%s", given.peer);
	if (hvri_pattern_is_wild(fresh.peer))
		hvri_name_fold(fresh.peer + 2);
	else
		hvri_name_fold(fresh.peer);
	snprintf(fresh.trust_group, sizeof(fresh.trust_group), "%s",
		 given.trust_group == NULL ? "" : given.trust_group);
	snprintf(fresh.storage_root, sizeof(fresh.storage_root), "%s",
		 given.storage_root == NULL ? "" : given.storage_root);
	fresh.verbs = given.verbs;
	fresh.flags = given.flags;
	fresh.relationships_max = given.relationships_max;
	fresh.points_max = given.points_max;
	fresh.bytes_max = given.bytes_max;
	fresh.rate_max = given.rate_max;
	entry = entry_named(node, fresh.peer);
	if (given.verbs == 0 && given.flags == 0) {
		if (entry != NULL) {
			entry->gone = true;
			entry->revision++;
			note_entry(node, &fresh, "was taken away");
			hvri_rights_recheck(node);
		}
		return HVREPL_OK;
	}
	if (entry == NULL)
		entry = place_for(node);
	if (entry == NULL)
		return HVREPL_E_NOMEM;
	fresh.next = entry->next;
	fresh.revision = entry->revision +
			 (entry->gone || !same_terms(entry, &fresh));
	if (!entry->gone) {
		fresh.allowance = entry->allowance;
		fresh.filled_ns = entry->filled_ns;
		fresh.trial_ns = entry->trial_ns;
		fresh.deeds_ns = entry->deeds_ns;
		fresh.deeds = entry->deeds;
	}
	if (entry->gone)
		note_entry(node, &fresh, "was added: it allows");
	else if (!same_terms(entry, &fresh) || entry->verbs != fresh.verbs)
		note_entry(node, &fresh, "was changed: it allows");
	*entry = fresh;
	hvri_rights_recheck(node);
	return HVREPL_OK;
}

int32_t hvri_node_authorisation(const struct hvrepl_node *node,
				const char *peer,
				struct hvrepl_authorisation_status *status)
{
	const struct hvri_entry *entry = hvri_node_entry(node, peer);
	char verbs[96];

	*status = (struct hvrepl_authorisation_status){
		.struct_size = sizeof(*status),
	};
	if (entry == NULL) {
		snprintf(status->sentence, sizeof(status->sentence),
			 "no authorisation entry of site %s names %.100s: add "
			 "one with the verbs it is to have",
			 node->site, peer);
		return HVREPL_E_NOT_FOUND;
	}
	status->verbs = entry->verbs;
	status->flags = entry->flags;
	count_vms(node, entry, NULL, &status->relationships, &status->bytes);
	snprintf(status->entry, sizeof(status->entry), "%s", entry->peer);
	snprintf(status->trust_group, sizeof(status->trust_group), "%s",
		 entry->trust_group);
	name_verbs(entry->verbs, verbs, sizeof(verbs));
	if (entry->verbs == 0)
		snprintf(status->sentence, sizeof(status->sentence),
			 "entry '%.100s' denies %.60s everything", entry->peer,
			 peer);
	else
		snprintf(status->sentence, sizeof(status->sentence),
			 "entry '%.100s' allows %s", entry->peer, verbs);
	return HVREPL_OK;
}

void hvri_rights_free(struct hvrepl_node *node)
{
	while (node->entries != NULL) {
		struct hvri_entry *gone = node->entries;

		node->entries = gone->next;
		hvri_free(&node->env, gone, sizeof(*gone));
	}
}

/* ---- Sessions. ---- */

bool hvri_session_rights_take(struct hvri_session *session)
{
	const struct hvri_entry *entry =
		hvri_node_entry(session->node, session->link.info.peer);

	session->rights = (struct hvri_session_rights){ .entry = entry };
	if (entry == NULL)
		return false;
	session->rights.verbs = entry->verbs;
	session->rights.revision = entry->revision;
	return entry->verbs != 0;
}

void hvri_session_denied(struct hvri_session *session, uint32_t verbs,
			 const struct hvrepl_uuid *vm)
{
	struct hvrepl_authorisation_status status;
	uint32_t fresh = verbs & ~session->rights.told;
	char names[64];

	if (fresh == 0)
		return;
	session->rights.told |= fresh;
	name_verbs(fresh, names, sizeof(names));
	(void)!hvri_node_authorisation(session->node, session->link.info.peer,
				       &status);
	hvri_note_of(session->node, session->link.info.peer, HVREPL_AUDIT_DENIED,
		     HVREPL_SEVERITY_WARNING, HVREPL_E_DENIED, vm,
		     "denied %.60s: %.50s; %.110s", session->link.info.peer,
		     names, status.sentence);
}

void hvri_rights_recheck(struct hvrepl_node *node)
{
	for (struct hvri_session *session = node->sessions; session != NULL;
	     session = session->next) {
		struct hvri_session_rights *had = &session->rights;
		const struct hvri_entry *entry;

		if (!session->up)
			continue;
		entry = hvri_node_entry(node, session->link.info.peer);
		if (entry == NULL || entry->verbs == 0)
			hvri_link_close(&session->link, HVREPL_E_DENIED,
					"your authorisation was withdrawn");
		else if ((had->verbs & ~entry->verbs) != 0)
			hvri_link_close(&session->link, HVREPL_E_DENIED,
					"verbs of your authorisation were "
					"taken away; connect again for the rest");
		else if (entry != had->entry ||
			 entry->revision != had->revision)
			hvri_link_close(&session->link, HVREPL_E_DISCONNECTED,
					"your authorisation was changed; "
					"connect again");
		else
			had->verbs = entry->verbs;
	}
}
