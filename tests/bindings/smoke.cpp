// SPDX-License-Identifier: Apache-2.0
// A tracked disk from C++17: callbacks, a ticket, a cut, errors, close.
#include <hvrepl/hvrepl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

static int passed, failed;

static void check(bool held, const char *what)
{
	(held ? passed : failed)++;
	if (!held)
		std::printf("FAILED: %s\n", what);
}

using Bytes = std::vector<std::uint8_t>;

struct Disk {
	Bytes bytes = Bytes(8u << 20);
	int released = 0;
	bool broken = false;

	template <typename Piece>
	static int32_t each(const hvrepl_iovec *iov, uint32_t count, Piece piece)
	{
		for (uint32_t i = 0; i < count; i++)
			piece(static_cast<std::uint8_t *>(iov[i].base), iov[i].length);
		return HVREPL_OK;
	}
	static int32_t info(void *user, hvrepl_disk_info *out)
	{
		out->size = static_cast<Disk *>(user)->bytes.size();
		out->block_size = 512;
		out->flags = HVREPL_DISK_EXCLUSIVE;
		return HVREPL_OK;
	}
	static int32_t readv(void *user, hvrepl_op *, uint64_t at,
			     const hvrepl_iovec *iov, uint32_t count)
	{
		auto self = static_cast<Disk *>(user);
		if (self->broken)
			return HVREPL_E_DISK_IO;
		return each(iov, count, [&](std::uint8_t *to, size_t length) {
			std::memcpy(to, &self->bytes[at], length);
			at += length;
		});
	}
	static int32_t writev(void *user, hvrepl_op *, uint64_t at,
			      const hvrepl_iovec *iov, uint32_t count)
	{
		auto self = static_cast<Disk *>(user);
		return each(iov, count, [&](std::uint8_t *from, size_t length) {
			std::memcpy(&self->bytes[at], from, length);
			at += length;
		});
	}
	hvrepl_disk handle()
	{
		static const hvrepl_disk_ops ops = [] {
			hvrepl_disk_ops table = HVREPL_DISK_OPS_INIT;
			table.info = info;
			table.readv = readv;
			table.writev = writev;
			return table;
		}();
		return { &ops, this, [](void *user) { static_cast<Disk *>(user)->released++; } };
	}
};

struct Storage {
	std::map<std::string, std::unique_ptr<Bytes>> objects;
	int released = 0;

	static Bytes &of(void *object) { return *static_cast<Bytes *>(object); }
	static int32_t open(void *user, const char *id, uint32_t flags, void **out)
	{
		auto &objects = static_cast<Storage *>(user)->objects;
		bool there = objects.count(id) != 0, create = flags & HVREPL_OBJECT_CREATE;
		if (there == create)
			return create ? HVREPL_E_EXISTS : HVREPL_E_NOT_FOUND;
		if (create)
			objects[id] = std::make_unique<Bytes>();
		*out = objects[id].get();
		return HVREPL_OK;
	}
	hvrepl_storage handle()
	{
		static const hvrepl_storage_ops ops = [] {
			hvrepl_storage_ops table = HVREPL_STORAGE_OPS_INIT;
			table.open = open;
			table.close = [](void *, void *) {};
			table.size = [](void *, void *object, uint64_t *out) -> int32_t {
				*out = of(object).size();
				return HVREPL_OK;
			};
			table.read = [](void *, hvrepl_op *, void *object, uint64_t at,
					void *to, size_t length) -> int32_t {
				if (length != 0)
					std::memcpy(to, &of(object)[at], length);
				return HVREPL_OK;
			};
			table.write = [](void *, hvrepl_op *, void *object, uint64_t at,
					 const hvrepl_iovec *iov, uint32_t count) -> int32_t {
				return Disk::each(iov, count, [&](std::uint8_t *from, size_t length) {
					if (of(object).size() < at + length)
						of(object).resize(at + length);
					std::memcpy(of(object).data() + at, from, length);
					at += length;
				});
			};
			table.flush = [](void *, hvrepl_op *, void *) -> int32_t { return HVREPL_OK; };
			table.resize = [](void *, void *object, uint64_t size) -> int32_t {
				of(object).resize(size);
				return HVREPL_OK;
			};
			table.remove = [](void *user, const char *id) -> int32_t {
				return static_cast<Storage *>(user)->objects.erase(id) != 0 ?
					       HVREPL_OK : HVREPL_E_NOT_FOUND;
			};
			table.list = [](void *user, const char *prefix,
					int32_t (*found)(void *, const char *, uint64_t),
					void *argument) -> int32_t {
				for (auto &[id, bytes] : static_cast<Storage *>(user)->objects)
					if (id.rfind(prefix, 0) == 0)
						if (int32_t rc = found(argument, id.c_str(), bytes->size()))
							return rc;
				return HVREPL_OK;
			};
			return table;
		}();
		return { &ops, this, [](void *user) { static_cast<Storage *>(user)->released++; } };
	}
};

static hvrepl_env make_env()
{
	hvrepl_env env = HVREPL_ENV_INIT;
	env.monotonic_ns = [](void *) -> uint64_t {
		return std::chrono::steady_clock::now().time_since_epoch().count();
	};
	env.utc_ns = [](void *) -> uint64_t {
		return std::chrono::system_clock::now().time_since_epoch().count();
	};
	env.random = [](void *, void *to, size_t length) -> int32_t {
		std::random_device device;
		for (size_t i = 0; i < length; i++)
			static_cast<std::uint8_t *>(to)[i] = static_cast<std::uint8_t>(device());
		return HVREPL_OK;
	};
	return env;
}

// A node from create to close: its state table, its events, its errors.
static void node_lives(const hvrepl_env &env)
{
	struct State {
		std::map<std::string, std::pair<std::string, uint64_t>> blobs;
		int released = 0, puts = 0;
	} state;
	hvrepl_state_ops ops = HVREPL_STATE_OPS_INIT;
	ops.get = [](void *user, const char *key, void *to, uint32_t *length,
		     uint64_t *version) -> int32_t {
		auto &blobs = static_cast<State *>(user)->blobs;
		auto found = blobs.find(key);
		if (found == blobs.end())
			return HVREPL_E_NOT_FOUND;
		auto &bytes = found->second.first;
		std::memcpy(to, bytes.data(), std::min<size_t>(*length, bytes.size()));
		*length = static_cast<uint32_t>(bytes.size());
		*version = found->second.second;
		return HVREPL_OK;
	};
	ops.put = [](void *user, hvrepl_op *, const char *key, const void *blob,
		     uint32_t length, uint64_t expected) -> int32_t {
		auto self = static_cast<State *>(user);
		self->puts++;
		self->blobs[key] = { std::string(static_cast<const char *>(blob), length),
				     expected + 1 };
		return HVREPL_OK;
	};
	ops.list = [](void *, const char *, int32_t (*)(void *, const char *),
		      void *) -> int32_t { return HVREPL_OK; };

	hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_node_config config = HVREPL_NODE_CONFIG_INIT;
	hvrepl_node *node = nullptr;
	config.env = &env;
	config.state = { &ops, &state, [](void *user) { static_cast<State *>(user)->released++; } };
	check(hvrepl_node_create(&config, &node, &error) == HVREPL_E_INVALID &&
	      error.sentence[0] != 0 && state.released == 1,
	      "a node without a site name is refused with a sentence");
	config.site = "east";
	check(hvrepl_node_create(&config, &node, &error) == HVREPL_OK && state.puts > 0,
	      "node, which saved who it is");
	hvrepl_operation operation = HVREPL_OPERATION_INIT;
	uint64_t job = 0;
	operation.type = HVREPL_OPERATION_SUSPEND;
	check(hvrepl_node_operate(node, &operation, &job, &error) == HVREPL_E_NOT_FOUND &&
	      error.sentence[0] != 0, "an unknown VM is refused with a sentence");
	check(hvrepl_node_destroy(node) == HVREPL_E_BUSY, "destroy before close");
	check(hvrepl_node_close(node) == HVREPL_OK, "close");
	hvrepl_event event = HVREPL_EVENT_INIT;
	bool closed = false;
	for (int i = 0; i < 100 && !closed; i++) {
		hvrepl_node_process(node, 0);
		while (hvrepl_node_next_event(node, &event) == 1)
			closed |= event.type == HVREPL_EVENT_CLOSED;
	}
	check(closed && event.seq > 0, "the event CLOSED arrives");
	check(hvrepl_node_destroy(node) == HVREPL_OK && state.released == 2,
	      "destroy, released exactly once");
}

int main()
{
	Disk disk;
	Storage storage;
	hvrepl_env env = make_env();
	hvrepl_error error = HVREPL_ERROR_INIT;
	hvrepl_group *group = nullptr;
	hvrepl_tracker *tracker = nullptr;
	hvrepl_cut *cut = nullptr;

	check(hvrepl_version() == HVREPL_VERSION_NUMBER, "version");

	hvrepl_env lacking = env;
	lacking.random = nullptr;
	check(hvrepl_group_create(&lacking, nullptr, &error, &group) == HVREPL_E_INVALID &&
	      group == nullptr && std::strstr(error.sentence, "random") != nullptr,
	      "a missing callback is refused with a sentence");

	bool woken = false;
	hvrepl_group_options options = HVREPL_GROUP_OPTIONS_INIT;
	options.wake = [](void *user) { *static_cast<bool *>(user) = true; };
	options.wake_user = &woken;
	options.write_wait_ns = 60000000000u;
	check(hvrepl_group_create(&env, &options, &error, &group) == HVREPL_OK, "group");

	hvrepl_disk disk_handle = disk.handle();
	hvrepl_storage storage_handle = storage.handle();
	hvrepl_tracker_options tracking = HVREPL_TRACKER_OPTIONS_INIT;
	tracking.object_id = "disk.hvt";
	tracking.disk.bytes[0] = 1;
	check(hvrepl_tracker_attach(group, &disk_handle, &storage_handle, &tracking, &error,
				    &tracker) == HVREPL_E_NOT_FOUND &&
	      error.error_class == HVREPL_CLASS_CALLER && error.sentence[0] != 0,
	      "a missing tracker file is refused with a sentence");
	check(disk.released == 1 && storage.released == 1, "what was taken is let go once");
	tracking.flags = HVREPL_TRACKER_CREATE;
	check(hvrepl_tracker_attach(group, &disk_handle, &storage_handle, &tracking, &error,
				    &tracker) == HVREPL_OK, "attach");
	check(hvrepl_group_destroy(group) == HVREPL_E_BUSY, "destroy while in use");

	int32_t go = HVREPL_PENDING;
	hvrepl_ticket ticket = HVREPL_TICKET_INIT;
	ticket.user = &go;
	ticket.complete = [](hvrepl_ticket *done, int32_t result) {
		*static_cast<int32_t *>(done->user) = result;
	};
	int32_t rc = hvrepl_tracker_write_begin(tracker, 8192, 4096, HVREPL_WRITE_DATA, &ticket);
	if (rc == HVREPL_PENDING)
		for (int i = 0; i < 100 && go == HVREPL_PENDING; i++)
			hvrepl_group_process(group);
	else
		go = rc;
	check(rc == HVREPL_PENDING && woken, "the first write of a region waits for its mark");
	check(go == HVREPL_OK, "the ticket is completed by the pump");
	std::memset(&disk.bytes[8192], 0xc5, 4096);
	check(hvrepl_tracker_write_end(tracker, &ticket, HVREPL_OK) == HVREPL_OK, "write_end");

	check(hvrepl_group_cut(group, 0, &error, &cut) == HVREPL_OK, "cut");
	hvrepl_extent extents[4];
	uint32_t count = 4;
	uint64_t end = 0;
	check(hvrepl_cut_next_extents(cut, 0, 0, extents, &count, &end) == HVREPL_OK &&
	      count == 1 && extents[0].offset == 8192 && extents[0].length == 4096,
	      "the cut names what was written");
	Bytes content(4096);
	check(hvrepl_cut_read(cut, 0, 8192, content.data(), content.size()) == HVREPL_OK &&
	      content == Bytes(4096, 0xc5), "the cut reads what was written");
	disk.broken = true;
	check(hvrepl_cut_read(cut, 0, 8192, content.data(), content.size()) == HVREPL_E_DISK_IO,
	      "a failing callback is reported");
	disk.broken = false;
	check(hvrepl_cut_close(cut, HVREPL_OK) == HVREPL_OK, "acknowledge");

	check(hvrepl_tracker_detach(tracker, HVREPL_DETACH_CLEAN) == HVREPL_OK, "detach");
	check(disk.released == 2 && storage.released == 2, "released exactly once each");
	check(hvrepl_group_destroy(group) == HVREPL_OK, "destroy");
	node_lives(env);
	std::printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}
