/* SPDX-License-Identifier: Apache-2.0 */
/* Logs: the changes of one disk between two points, written, read, applied. */
#ifndef HVREPL_LOG_H
#define HVREPL_LOG_H

#include <hvrepl/cut.h>
#include <hvrepl/disk.h>
#include <hvrepl/env.h>
#include <hvrepl/error.h>
#include <hvrepl/storage.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Everything here works on its own, without a node and without a network. A
 * log in hvrepl's own form is called a segment; docs/formats.md has its bytes.
 *
 * Handles: one thread at a time each. Callbacks run on the calling thread,
 * may block, and may finish through hvrepl_op_complete() from any thread; a
 * call into the handle from inside one returns REENTRANT. Functions that make
 * a handle take the callbacks' `user` and call `release` exactly once, when
 * the handle is destroyed or at once when the call fails.
 */

/** Raw bytes of one chunk, at most. */
#define HVREPL_LOG_CHUNK_MAX (256u * 1024u)
/** Extents of one chunk, at most. */
#define HVREPL_LOG_EXTENTS_MAX 1024u
/** zstd level that costs little and wins most. */
#define HVREPL_LOG_LEVEL_DEFAULT 1
/** Levels allowed; 0 stores uncompressed. */
#define HVREPL_LOG_LEVEL_MIN (-7)
#define HVREPL_LOG_LEVEL_MAX 19

/** No digest is known. */
#define HVREPL_LOG_DIGEST_NONE 0u
/** SHA-256 over the content, as hvrepl_disk_digest() makes it. */
#define HVREPL_LOG_DIGEST_SHA256 2u

/** Where the bytes of a log come from: a file, an object, a buffer. */
struct hvrepl_log_source_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_log_source_ops) */
	uint32_t reserved;    /* Must be zero. */

	/** Bytes there are. Synchronous. */
	int32_t (*size)(void *user, uint64_t *size_out);
	/** All of [offset, offset + length), which lies inside the size. */
	int32_t (*read)(void *user, hvrepl_op *op, uint64_t offset,
			void *buffer, size_t length);
};
#define HVREPL_LOG_SOURCE_OPS_INIT \
	{ sizeof(struct hvrepl_log_source_ops), 0, 0, 0 }

/** As struct hvrepl_disk: ops copied, user taken, release exactly once. */
struct hvrepl_log_source {
	const struct hvrepl_log_source_ops *ops;
	void *user;
	void (*release)(void *user);
};

/** Where the bytes of a log go. */
struct hvrepl_log_sink_ops {
	uint32_t struct_size; /* sizeof(struct hvrepl_log_sink_ops) */
	uint32_t reserved;    /* Must be zero. */

	/** Put `length` bytes behind those already there: all or an error. */
	int32_t (*append)(void *user, hvrepl_op *op, const void *bytes,
			  size_t length);
	/** Optional. What was appended is durable when it succeeds. */
	int32_t (*flush)(void *user, hvrepl_op *op);
};
#define HVREPL_LOG_SINK_OPS_INIT \
	{ sizeof(struct hvrepl_log_sink_ops), 0, 0, 0 }

/** As struct hvrepl_disk: ops copied, user taken, release exactly once. */
struct hvrepl_log_sink {
	const struct hvrepl_log_sink_ops *ops;
	void *user;
	void (*release)(void *user);
};

/** What a log is about: its header. */
struct hvrepl_log_info {
	uint32_t struct_size;
	uint32_t block_size; /* Power of two, 512 to 65536; 0: 4096. */
	struct hvrepl_uuid vm;
	struct hvrepl_uuid disk;
	struct hvrepl_uuid epoch;
	struct hvrepl_uuid cut; /* None when writing: a fresh random id. */
	uint64_t from_point;
	uint64_t to_point;
	uint64_t disk_size; /* Bytes. */
	uint64_t utc_ns;    /* A label. Writing: 0 asks the env's clock. */
	uint32_t base_digest_kind; /* HVREPL_LOG_DIGEST_*, of from_point. */
	uint32_t reserved;         /* Must be zero. */
	uint8_t base_digest[32];
};
#define HVREPL_LOG_INFO_INIT                                              \
	{ sizeof(struct hvrepl_log_info), 0, { { 0 } }, { { 0 } },        \
	  { { 0 } }, { { 0 } }, 0, 0, 0, 0, 0, 0, { 0 } }

/** What a whole log holds: its trailer, and what was counted on the way. */
struct hvrepl_log_summary {
	uint32_t struct_size;
	uint32_t chunk_count;
	uint64_t length;          /* Bytes of the log itself. */
	uint64_t data_bytes;      /* Disk bytes that come with data. */
	uint64_t stored_bytes;    /* What that data takes in the log. */
	uint64_t zero_bytes;      /* Disk bytes that become zero. */
	uint64_t discard_bytes;   /* Disk bytes that were given up. */
	uint8_t root[32];         /* SHA-256 over header and all digests. */
	uint32_t result_digest_kind; /* HVREPL_LOG_DIGEST_*, of to_point. */
	uint32_t reserved;
	uint8_t result_digest[32];
};
#define HVREPL_LOG_SUMMARY_INIT                                      \
	{ sizeof(struct hvrepl_log_summary), 0, 0, 0, 0, 0, 0, { 0 }, \
	  0, 0, { 0 } }

#define HVREPL_LOG_END 0u     /* No more chunks; everything verified. */
#define HVREPL_LOG_DATA 1u
#define HVREPL_LOG_ZERO 2u    /* Reads as zeroes. */
#define HVREPL_LOG_DISCARD 3u /* Content given up; applied as zeroes. */

/** One chunk as read. Pointers: borrowed until the reader's next call. */
struct hvrepl_log_chunk {
	uint32_t struct_size;
	uint32_t kind;     /* HVREPL_LOG_* */
	uint32_t sequence; /* 0, 1, 2... */
	uint32_t extent_count;
	/** Ascending, apart, inside the disk. */
	const struct hvrepl_extent *extents;
	/** DATA: the extents' bytes one after the other; else NULL. */
	const void *data;
	uint32_t data_length;   /* Bytes of data. */
	uint32_t stored_length; /* Bytes it took in the log. */
	uint64_t position;      /* Of the chunk in the log, bytes. */
};
#define HVREPL_LOG_CHUNK_INIT \
	{ sizeof(struct hvrepl_log_chunk), 0, 0, 0, 0, 0, 0, 0, 0 }

/** Writes a log. Opaque. */
typedef struct hvrepl_log_writer hvrepl_log_writer;
/** Reads a log. Opaque. */
typedef struct hvrepl_log_reader hvrepl_log_reader;
/** Compares two disks into a log, piece by piece. Opaque. */
typedef struct hvrepl_log_compare hvrepl_log_compare;
/** Applies logs to a disk, piece by piece. Opaque. */
typedef struct hvrepl_log_apply hvrepl_log_apply;

/**
 * Begin a log: its header goes to the sink.
 *
 * @param env         Copied; its `user` is borrowed until destroy.
 * @param info        Borrowed for the call.
 * @param level       zstd level, HVREPL_LOG_LEVEL_*; 0 stores.
 * @param sink        Taken; see the top of this file.
 * @param writer_out  Untouched on failure.
 * @param error       Optional.
 * @return OK, INVALID, TOO_NEW, NOMEM, CALLBACK (the sink or the entropy).
 * @threadsafety One thread at a time for each handle.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_log_writer_create(const struct hvrepl_env *env,
					    const struct hvrepl_log_info *info,
					    int32_t level,
					    const struct hvrepl_log_sink *sink,
					    hvrepl_log_writer **writer_out,
					    struct hvrepl_error *error);
/**
 * The header as written, fresh cut id and time included. Fills no more than
 * info_out->struct_size. @since 0.1
 */
HVREPL_API int32_t hvrepl_log_writer_info(const hvrepl_log_writer *writer,
					  struct hvrepl_log_info *info_out);
/**
 * Add changed bytes. Blocks of zeroes are found and cost nothing.
 *
 * @param offset  Bytes; a multiple of the block size.
 * @param bytes   Borrowed for the call.
 * @param length  A multiple of the block size, or up to the end of the disk.
 * Ranges may come in any order; where two overlap the later call wins.
 * @return OK, RANGE, NOMEM, CALLBACK, NO_SPACE, STATE after finish or an
 *         earlier failure.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_log_writer_add(hvrepl_log_writer *writer,
					 uint64_t offset, const void *bytes,
					 size_t length);
/** Add a range that reads as zeroes. As hvrepl_log_writer_add(). @since 0.1 */
HVREPL_API int32_t hvrepl_log_writer_add_zero(hvrepl_log_writer *writer,
					      uint64_t offset, uint64_t length);
/** Add a range whose content was given up. @since 0.1 */
HVREPL_API int32_t hvrepl_log_writer_add_discard(hvrepl_log_writer *writer,
						 uint64_t offset,
						 uint64_t length);
/**
 * Write what is left, index and trailer, and flush the sink. Without it the
 * log is no log: readers see it as truncated.
 *
 * @param result_digest_kind  HVREPL_LOG_DIGEST_*, of the content at to_point.
 * @param result_digest       32 bytes, borrowed; NULL with DIGEST_NONE.
 * @param summary_out         Optional.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_log_writer_finish(
	hvrepl_log_writer *writer, uint32_t result_digest_kind,
	const uint8_t *result_digest, struct hvrepl_log_summary *summary_out);
/** NULL is fine. Does not finish the log. @since 0.1 */
HVREPL_API void hvrepl_log_writer_destroy(hvrepl_log_writer *writer);

/**
 * Write one disk's part of a spooled cut as a log: its chunks go out as they
 * lie in the spool, packed once. The cut stays as it is; settle it afterwards.
 * The log has no digest of what it starts at, which a tracker does not know.
 *
 * @param cut   State HVREPL_CUT_SPOOLED, and nothing of this disk settled.
 * @param disk  Index in the cut.
 * @param sink  Taken; see the top of this file.
 * @param summary_out  Optional.
 * @return OK; BUSY: not spooled to its end yet; VOIDED; STATE: settled before;
 *         INVALID, NOMEM, STORAGE_IO (spill), CALLBACK, NO_SPACE.
 * @threadsafety One thread at a time for one disk of a cut.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_log_from_cut(const struct hvrepl_env *env,
				       hvrepl_cut *cut, uint32_t disk,
				       const struct hvrepl_log_sink *sink,
				       struct hvrepl_log_summary *summary_out,
				       struct hvrepl_error *error);

/**
 * Open a log and read its header.
 *
 * @param source  Taken; see the top of this file.
 * @return OK, CORRUPT, TRUNCATED, FORMAT_TOO_NEW, NOMEM, CALLBACK, INVALID.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_log_reader_open(const struct hvrepl_env *env,
					  const struct hvrepl_log_source *source,
					  hvrepl_log_reader **reader_out,
					  struct hvrepl_error *error);
HVREPL_API int32_t hvrepl_log_reader_info(const hvrepl_log_reader *reader,
					  struct hvrepl_log_info *info_out);
/**
 * The next chunk, both its digests checked. kind is HVREPL_LOG_END once, when
 * index, trailer and root have been checked too, and from then on.
 *
 * @return OK, CORRUPT, TRUNCATED, NOMEM, CALLBACK. After a failure the same
 *         code again until hvrepl_log_reader_rewind().
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_log_reader_next(hvrepl_log_reader *reader,
					  struct hvrepl_log_chunk *chunk_out);
/** Start again at the first chunk. @since 0.1 */
HVREPL_API int32_t hvrepl_log_reader_rewind(hvrepl_log_reader *reader);
/** What was read; STATE before HVREPL_LOG_END was. @since 0.1 */
HVREPL_API int32_t
hvrepl_log_reader_summary(const hvrepl_log_reader *reader,
			  struct hvrepl_log_summary *summary_out);
/** NULL is fine. @since 0.1 */
HVREPL_API void hvrepl_log_reader_destroy(hvrepl_log_reader *reader);

#define HVREPL_LOG_PHASE_LOGS 1u  /* Checking every byte of the logs. */
#define HVREPL_LOG_PHASE_DISK 2u  /* Reading the disk. */
#define HVREPL_LOG_PHASE_WRITE 3u /* Applying; nothing was written before. */
#define HVREPL_LOG_PHASE_DONE 4u

/** How far a long operation is. */
struct hvrepl_log_progress {
	uint32_t struct_size;
	uint32_t phase;       /* HVREPL_LOG_PHASE_* */
	uint64_t done;        /* Bytes of this phase. */
	uint64_t total;
	uint64_t written;     /* Bytes written to the disk or the sink. */
	uint32_t outcome;     /* HVREPL_LOG_APPLY_*, once known. */
	uint32_t reserved;
};
#define HVREPL_LOG_PROGRESS_INIT \
	{ sizeof(struct hvrepl_log_progress), 0, 0, 0, 0, 0, 0 }

/**
 * Compare two disks of one size into a log that turns `from` into `to`, with
 * the digests of both in it. Both must stay as they are until it is done: what
 * moved between the passes over `from` is found and reported as UNTRUSTED.
 *
 * @param info      disk_size is ignored, the digest is filled in.
 * @param from, to  Taken; only read.
 * @param sink      Taken.
 * @return OK, INVALID (sizes differ), or what the callbacks returned.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_log_compare_create(
	const struct hvrepl_env *env, const struct hvrepl_log_info *info,
	int32_t level, const struct hvrepl_disk *from,
	const struct hvrepl_disk *to, const struct hvrepl_log_sink *sink,
	hvrepl_log_compare **compare_out, struct hvrepl_error *error);
/**
 * Do a bounded piece of work: a few MiB of I/O. Call until the phase is DONE.
 *
 * @param progress_out  Optional.
 * @since 0.1
 */
HVREPL_API int32_t
hvrepl_log_compare_advance(hvrepl_log_compare *compare,
			   struct hvrepl_log_progress *progress_out,
			   struct hvrepl_error *error);
/** STATE before DONE. @since 0.1 */
HVREPL_API int32_t
hvrepl_log_compare_summary(const hvrepl_log_compare *compare,
			   struct hvrepl_log_info *info_out,
			   struct hvrepl_log_summary *summary_out);
/** NULL is fine. @since 0.1 */
HVREPL_API void hvrepl_log_compare_destroy(hvrepl_log_compare *compare);

/** Accept logs that do not say what they were made from. */
#define HVREPL_LOG_APPLY_ANY_BASE (1u << 0)

#define HVREPL_LOG_APPLY_FRESH 1u   /* The disk was what the logs start at. */
#define HVREPL_LOG_APPLY_RESUMED 2u /* An interrupted apply was completed. */
#define HVREPL_LOG_APPLY_ALREADY 3u /* The disk was already there. */

/** What to apply to what. */
struct hvrepl_log_apply_config {
	uint32_t struct_size;
	uint32_t flags; /* HVREPL_LOG_APPLY_ANY_BASE */
	/** A chain, oldest first. Borrowed until destroy, like the readers. */
	hvrepl_log_reader *const *readers;
	uint32_t reader_count;
	uint32_t reserved; /* Must be zero. */
	/** Taken. */
	struct hvrepl_disk disk;
	/**
	 * Taken; optional (ops NULL). Where the record of an apply under way
	 * lies, so that it can be completed after a crash; without it a disk
	 * that was left half written is refused.
	 */
	struct hvrepl_storage storage;
	/** Id of that object; copied. Names the disk, not the logs. */
	const char *record_id;
};
#define HVREPL_LOG_APPLY_CONFIG_INIT                                  \
	{ sizeof(struct hvrepl_log_apply_config), 0, 0, 0, 0,         \
	  { 0, 0, 0 }, { 0, 0, 0 }, 0 }

/**
 * Apply a chain of logs to a disk. Everything is checked before the first
 * write: each byte of each log, that each log begins where the one before it
 * ends, and that the disk is what the first one was made from. A disk that is
 * not is refused with WRONG_DISK and not touched. After a crash in the middle
 * the same call completes it; on a disk that is already there it does nothing.
 *
 * @return OK; INVALID, NOMEM, and what the disk's info callback returned.
 * @since 0.1
 */
HVREPL_API int32_t
hvrepl_log_apply_create(const struct hvrepl_env *env,
			const struct hvrepl_log_apply_config *config,
			hvrepl_log_apply **apply_out,
			struct hvrepl_error *error);
/**
 * Do a bounded piece of work. Call until the phase is DONE; then everything is
 * durable on the disk.
 *
 * @return OK; WRONG_DISK; CORRUPT, TRUNCATED (a log; the sentence says which);
 *         RANGE, READ_ONLY, NO_SPACE, DISK_IO, STORAGE_IO, NOMEM, LIMIT.
 * @since 0.1
 */
HVREPL_API int32_t
hvrepl_log_apply_advance(hvrepl_log_apply *apply,
			 struct hvrepl_log_progress *progress_out,
			 struct hvrepl_error *error);
/** NULL is fine. Before DONE it leaves the disk as it is by then. @since 0.1 */
HVREPL_API void hvrepl_log_apply_destroy(hvrepl_log_apply *apply);

/**
 * Digest of a disk's whole content, the one logs carry: SHA-256 over the
 * size and, for each MiB that is not all zero, its offset and its SHA-256.
 * Holes are not read.
 *
 * @param disk        Taken; only read.
 * @param digest_out  32 bytes.
 * @since 0.1
 */
HVREPL_API int32_t hvrepl_disk_digest(const struct hvrepl_env *env,
				      const struct hvrepl_disk *disk,
				      uint8_t digest_out[32],
				      struct hvrepl_error *error);

#ifdef __cplusplus
}
#endif
#endif
