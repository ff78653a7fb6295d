/* SPDX-License-Identifier: Apache-2.0 */
/* The list of all fuzz targets, for the builds that replay them. */
#include "fuzz.h"

#define TARGETS(X)                                                     \
	X(frame) X(segment) X(message) X(manifest) X(tracker_codec)    \
	X(zstd) X(handshake) X(tracker_file) X(tracker_model)   \
	X(store) X(relationship) X(extents)      \
	X(primary) X(replica) X(config) X(rules) X(nodes)  \
	X(verdict) X(story) X(kerberos) X(pattern) X(proof) X(certificate)

#define DECLARE(name) extern const struct fuzz_target fuzz_##name;
TARGETS(DECLARE)

const struct fuzz_target *fuzz_target_get(size_t index)
{
#define ROW(name) &fuzz_##name,
	static const struct fuzz_target *const all[] = { TARGETS(ROW) };

	return index < sizeof(all) / sizeof(all[0]) ? all[index] : 0;
}
