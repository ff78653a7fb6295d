/* SPDX-License-Identifier: Apache-2.0 */
/* Which peer may do what at a site: entries, verbs, quotas, patterns of names. */
#ifndef HVREPL_AUTHORISATION_H
#define HVREPL_AUTHORISATION_H

#include <hvrepl/channel.h>
#include <hvrepl/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HVREPL_VERB_ENABLE (1u << 0)  /* Start sending a VM here. */
/* Send changes of a VM here, and have what it sent digested for comparing. */
#define HVREPL_VERB_RECEIVE (1u << 1)
/* Take a VM over in a failover and have it replicated back to here; ask for
 * operations from over there. */
#define HVREPL_VERB_REVERSE (1u << 2)
/* What costs bytes of ours: discard an epoch of ours, cancel a failover that
 * runs here, resynchronize over a replica that is in doubt, or over a disk whose
 * changes are not known. Each names the epoch. */
#define HVREPL_VERB_OVERWRITE (1u << 3)
/* What costs recovery points: remove a replica, commit a failover that runs
 * here. Both name the epoch. */
#define HVREPL_VERB_DELETE_POINTS (1u << 4)
#define HVREPL_VERB_VERIFY (1u << 5) /* Have a running VM's disks digested. */
#define HVREPL_VERB_ALL 0x3fu
#define HVREPL_VERB_COUNT 6u

/* The entry allows nothing: for one host that a pattern would let in. */
#define HVREPL_AUTHORISATION_DENY (1u << 0)

#define HVREPL_TRUST_GROUP_MAX 63u    /* Bytes, without the zero. */
#define HVREPL_STORAGE_ROOT_MAX 255u  /* Bytes, without the zero. */
#define HVREPL_RATE_MIN 65536u        /* Smallest rate_max, bytes a second. */

/**
 * Which peer may do what here. Without an entry: nothing. The entry of the exact
 * name counts, and only where there is none the pattern that it matches (there
 * can be one at most, as the '*' is one label).
 */
struct hvrepl_authorisation {
	uint32_t struct_size; /* sizeof(struct hvrepl_authorisation) */
	uint32_t verbs;       /* HVREPL_VERB_* */
	/** An identity as the channel proves it, or a pattern of host names:
	 * see hvrepl_peer_pattern_check(). Copied. */
	const char *peer;
	/** A VM is bound to the group of its peer's entry at first contact;
	 * from then on only peers of that group may act for it. NULL, "": none,
	 * then only the peer itself. At most HVREPL_TRUST_GROUP_MAX bytes; copied. */
	const char *trust_group;
	/** Where the replicas of this peer's VMs lie: given to open_replica_at
	 * as it stands. This site's own words; at most HVREPL_STORAGE_ROOT_MAX
	 * bytes; copied. @since 0.1 */
	const char *storage_root;
	uint32_t flags; /* HVREPL_AUTHORISATION_*; with DENY verbs are 0. */
	/* Quotas, 0: none. Looked at when a VM is enabled; what is here stays.
	 * A pattern's are shared by all whom it lets in. */
	uint32_t relationships_max; /* VMs of the entry that are here, or are
				     * being made, or have disks here though
				     * making them failed. */
	uint32_t points_max; /* That a VM may ask to be kept, 1 to 24. */
	uint32_t reserved;   /* Must be zero. */
	uint64_t bytes_max;  /* Of all disks of those VMs together, as they
			      * are sized. What points take has a quota of its
			      * own: hvrepl_vm_set_quota(). */
	uint64_t rate_max;   /* Bytes of content received a second, on the
			      * average of some seconds; HVREPL_RATE_MIN to
			      * 2^39. */
};
#define HVREPL_AUTHORISATION_INIT \
	{ sizeof(struct hvrepl_authorisation), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 }

/** What applies to one peer; filled by hvrepl_node_get_authorisation(). */
struct hvrepl_authorisation_status {
	uint32_t struct_size; /* Set by the caller; never written past. */
	uint32_t verbs;
	uint32_t flags;
	uint32_t relationships; /* VMs of the entry, as its quota counts. */
	uint64_t bytes;         /* Their disks, as they are sized. */
	char entry[HVREPL_PEER_NAME_MAX + 1]; /* Its `peer`. */
	char trust_group[HVREPL_TRUST_GROUP_MAX + 1];
	/** "entry '*.example.com' allows enable, receive", or what to add. */
	char sentence[HVREPL_SENTENCE_MAX];
};
#define HVREPL_AUTHORISATION_STATUS_INIT                                      \
	{ sizeof(struct hvrepl_authorisation_status), 0, 0, 0, 0, { 0 }, { 0 }, \
	  { 0 } }

/**
 * May `pattern` stand in an entry? A name is 1 to HVREPL_PEER_NAME_MAX bytes of
 * UTF-8 without control characters and '*'. A pattern is "*." and a host's name
 * of at least two labels that is no address: "*.example.com". The '*' is exactly
 * one whole label. "*.com", "w*.example.com" and "a.*.com" are refused. Two
 * labels are no proof against public suffixes ("*.co.uk" passes): which of them
 * are public is for who writes the entry to know.
 *
 * Host names (letters, digits, '-', '_', '.') are compared without regard to
 * ASCII case and to one dot at the end, IPv6 addresses by what they mean; other
 * identities, principals among them, byte by byte, and they have no patterns.
 * @return OK, or INVALID with a sentence. Any thread; callback-safe. @since 0.1
 */
HVREPL_API int32_t hvrepl_peer_pattern_check(const char *pattern,
					     struct hvrepl_error *error);
/**
 * The one spelling of a peer's name, in which entries, peers of a node and channels
 * are compared: a host's in lower case and without the dot at its end, an IPv6
 * address as inet_ntop() writes it, any other name as it is. `out` has
 * HVREPL_PEER_NAME_MAX + 1 bytes and is filled unless the code is negative.
 * @return 1: a host's name or an address; 0: another; INVALID: no name.
 * Any thread; callback-safe. @since 0.1
 */
HVREPL_API int32_t hvrepl_peer_name_fold(const char *name, char *out);
/** 1: the name, as proved, is what `pattern` means; 0: not, or not well formed.
 * Any thread; callback-safe. @since 0.1 */
HVREPL_API int32_t hvrepl_peer_pattern_matches(const char *pattern,
					       const char *name);
/** "enable", "receive", "reverse", "overwrite", "delete-points", "verify" for
 * bits 0 to 5; NULL past the last. Static. Any thread; callback-safe. */
HVREPL_API const char *hvrepl_verb_name(uint32_t bit);

#ifdef __cplusplus
}
#endif
#endif
