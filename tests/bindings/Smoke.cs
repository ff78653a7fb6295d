// SPDX-License-Identifier: Apache-2.0
// A tracked disk from C# (P/Invoke): callbacks, a ticket, a cut, errors, close.
using System;
using System.Collections.Generic;
using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

using Ptr = System.IntPtr;
using Size = System.UIntPtr;

static class Code {
	public const int Ok = 0, Pending = 1, Invalid = -100, Busy = -104, NotFound = -105,
		Exists = -106, Callback = -300, DiskIo = -301;
	public const uint Suspend = 3, EventClosed = 2;
}

// Every delegate has the C calling convention of the library.
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate ulong Clock(Ptr user);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int Fill(Ptr user, Ptr to, Size length);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate void Release(Ptr user);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int Info(Ptr user, ref DiskInfo info);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int Vector(Ptr user, Ptr op, ulong offset, Ptr iov, uint count);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int Open(Ptr user, string id, uint flags, out Ptr handle);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate void Close(Ptr user, Ptr handle);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int GetSize(Ptr user, Ptr handle, out ulong size);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int Read(Ptr user, Ptr op, Ptr handle, ulong offset, Ptr to, Size length);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int Write(Ptr user, Ptr op, Ptr handle, ulong offset, Ptr iov, uint count);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int Flush(Ptr user, Ptr op, Ptr handle);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int Resize(Ptr user, Ptr handle, ulong size);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int Remove(Ptr user, string id);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate int Found(Ptr argument, string id, ulong size);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int List(Ptr user, string prefix, Found found, Ptr argument);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)] delegate void Completed(Ptr ticket, int result);

[StructLayout(LayoutKind.Sequential)] struct Env {
	public uint StructSize, Reserved; public Ptr User; public Clock Monotonic, Utc; public Fill Random;
	public Ptr Alloc, Free, Log, Execute;
}
[StructLayout(LayoutKind.Sequential)] unsafe struct Error {
	public uint StructSize; public int Code; public uint Class; public int CallbackCode, SysErrno;
	public uint Reserved; public fixed byte Text[256];
	public string Sentence {
		get { fixed (byte* at = Text) return Marshal.PtrToStringAnsi((Ptr)at); }
	}
}
[StructLayout(LayoutKind.Sequential)] unsafe struct DiskInfo {
	public uint StructSize, Flags; public ulong DiskSize; public uint BlockSize, TokenLength;
	public fixed byte Token[64];
}
[StructLayout(LayoutKind.Sequential)] struct DiskOps {
	public uint StructSize, Reserved; public Info Info; public Vector Readv, Writev;
	public Ptr Flush, Zero, Discard, Allocated;
}
[StructLayout(LayoutKind.Sequential)] struct StorageOps {
	public uint StructSize, Reserved; public Open Open; public Close Close; public GetSize Size;
	public Read Read; public Write Write; public Flush Flush; public Resize Resize; public Ptr Punch;
	public Remove Remove; public Ptr Sync; public List List; public Ptr FreeSpace;
}
[StructLayout(LayoutKind.Sequential)] struct Lent { public Ptr Ops, User; public Release Release; }
[StructLayout(LayoutKind.Sequential)] struct Extent { public ulong Offset, Length; }
[StructLayout(LayoutKind.Sequential)] struct Iovec { public Ptr Base; public Size Length; }
[StructLayout(LayoutKind.Sequential)] struct GroupOptions {
	public uint StructSize; public int Level; public ulong SpoolMemory, SpillLimit;
	public Ptr Spill, SpillPrefix; public ulong WriteWait, CoolAfter; public Release Wake; public Ptr WakeUser;
}
[StructLayout(LayoutKind.Sequential)] unsafe struct TrackerOptions {
	public uint StructSize, Flags; public fixed byte Vm[16]; public fixed byte Disk[16];
	public fixed byte Owner[16]; [MarshalAs(UnmanagedType.LPStr)] public string ObjectId;
	public uint BlockSize, RegionSize; public Ptr Trust, TokenCheck, User;
}
[StructLayout(LayoutKind.Sequential)] unsafe struct Ticket {
	public uint StructSize, Reserved; public Ptr Complete, User; public fixed ulong Opaque[14];
}

[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int Get(Ptr user, string key, Ptr to, ref uint length, ref ulong version);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int Put(Ptr user, Ptr op, string key, Ptr blob, uint length, ulong expected);
[UnmanagedFunctionPointer(CallingConvention.Cdecl)]
delegate int Keys(Ptr user, string prefix, Ptr found, Ptr argument);
[StructLayout(LayoutKind.Sequential)] struct StateOps {
	public uint StructSize, Reserved; public Get Get; public Put Put; public Keys List;
}
[StructLayout(LayoutKind.Sequential)] struct NodeConfig {
	public uint StructSize, Flags; public Ptr Env; [MarshalAs(UnmanagedType.LPStr)] public string Site;
	public Lent State; public Ptr Vmm, Wake, TokenCheck, User, ReleaseUser; public ulong StartWait;
	public uint StartWithoutPeer, Level; public ulong SpoolMemory, RetryMin, RetryMax;
	public ulong ReplicaQuota; public uint ReplicaPointsMin, Reserved; public Ptr Permit;
}
[StructLayout(LayoutKind.Sequential)] unsafe struct Event {
	public uint StructSize, Type, Severity; public int Code; public ulong UtcNs, Seq;
	public fixed byte Vm[16]; public ulong Job, Value, Total; public fixed byte Text[256];
	public fixed byte Actor[256];
}
[StructLayout(LayoutKind.Sequential)] unsafe struct Operation {
	public uint StructSize, Type; public fixed byte Vm[16]; public Ptr Peer; public ulong Point;
	public fixed byte Epoch[16]; public uint Flags, Reserved;
}

static class Native {
	const string L = "hvrepl";
	const CallingConvention C = CallingConvention.Cdecl;
	[DllImport(L, CallingConvention = C)] public static extern uint hvrepl_version();
	[DllImport(L, CallingConvention = C)] public static extern int
		hvrepl_group_create(ref Env env, ref GroupOptions options, ref Error error, out Ptr group);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_group_destroy(Ptr group);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_group_process(Ptr group);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_tracker_attach(Ptr group,
		ref Lent disk, ref Lent storage, ref TrackerOptions options, ref Error error, out Ptr tracker);
	[DllImport(L, CallingConvention = C)] public static extern int
		hvrepl_tracker_detach(Ptr tracker, uint flags);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_tracker_write_begin(
		Ptr tracker, ulong offset, ulong length, uint kind, Ptr ticket);
	[DllImport(L, CallingConvention = C)] public static extern int
		hvrepl_tracker_write_end(Ptr tracker, Ptr ticket, int result);
	[DllImport(L, CallingConvention = C)] public static extern int
		hvrepl_group_cut(Ptr group, uint flags, ref Error error, out Ptr cut);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_cut_next_extents(Ptr cut,
		uint disk, ulong from, [Out] Extent[] extents, ref uint count, out ulong end);
	[DllImport(L, CallingConvention = C)] public static extern int
		hvrepl_cut_read(Ptr cut, uint disk, ulong offset, byte[] buffer, Size length);
	[DllImport(L, CallingConvention = C)] public static extern int
		hvrepl_node_create(ref NodeConfig config, out Ptr node, ref Error error);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_node_close(Ptr node);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_node_destroy(Ptr node);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_node_process(Ptr node, uint budget);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_node_next_event(Ptr node, ref Event e);
	[DllImport(L, CallingConvention = C)] public static extern int
		hvrepl_node_operate(Ptr node, ref Operation operation, out ulong job, ref Error error);
	[DllImport(L, CallingConvention = C)] public static extern int hvrepl_cut_close(Ptr cut, int result);
}

static unsafe class Smoke {
	static int passed, failed, diskReleased, storageReleased;
	static bool broken, woken;
	static readonly byte[] disk = new byte[8 << 20];
	static readonly Dictionary<string, int> names = new Dictionary<string, int>();
	static readonly List<byte[]> objects = new List<byte[]>();
	static readonly List<object> alive = new List<object>(); // What C points to.

	static void Check(bool held, string what) {
		if (held) { passed++; return; }
		failed++;
		Console.WriteLine("FAILED: " + what);
	}

	// An exception must not cross into C: it becomes the callback's failure.
	static int Guarded(int failure, Action action) {
		try { action(); return Code.Ok; } catch (Exception) { return failure; }
	}

	static void Each(Ptr iov, uint count, Action<Ptr, int> piece) {
		for (var i = 0; i < count; i++)
			piece(((Iovec*)iov)[i].Base, (int)((Iovec*)iov)[i].Length);
	}

	static Ptr Table<T>(T table) {
		var at = Marshal.AllocHGlobal(Marshal.SizeOf(typeof(T)));
		Marshal.StructureToPtr(table, at, false);
		alive.Add(table);
		return at;
	}

	static int ReadDisk(Ptr user, Ptr op, ulong at, Ptr iov, uint count) {
		return Guarded(Code.DiskIo, () => {
			if (broken) throw new InvalidOperationException("the disk is on fire");
			Each(iov, count, (to, length) => { Marshal.Copy(disk, (int)at, to, length); at += (ulong)length; });
		});
	}
	static int WriteDisk(Ptr user, Ptr op, ulong at, Ptr iov, uint count) {
		return Guarded(Code.DiskIo, () => Each(iov, count, (from, length) => {
			Marshal.Copy(from, disk, (int)at, length); at += (ulong)length;
		}));
	}

	static void Grow(Ptr handle, ulong size) {
		var bytes = objects[(int)handle - 1];
		Array.Resize(ref bytes, (int)size);
		objects[(int)handle - 1] = bytes;
	}
	static int OpenObject(Ptr user, string id, uint flags, out Ptr handle) {
		var create = (flags & 1) != 0;
		handle = Ptr.Zero;
		if (names.ContainsKey(id) == create) return create ? Code.Exists : Code.NotFound;
		if (create) { objects.Add(new byte[0]); names[id] = objects.Count; }
		handle = (Ptr)names[id];
		return Code.Ok;
	}
	static int SizeObject(Ptr user, Ptr handle, out ulong size) {
		size = (ulong)objects[(int)handle - 1].Length;
		return Code.Ok;
	}
	static int WriteObject(Ptr user, Ptr op, Ptr handle, ulong at, Ptr iov, uint count) {
		return Guarded(Code.Callback, () => Each(iov, count, (from, length) => {
			if ((ulong)objects[(int)handle - 1].Length < at + (ulong)length) Grow(handle, at + (ulong)length);
			Marshal.Copy(from, objects[(int)handle - 1], (int)at, length);
			at += (ulong)length;
		}));
	}
	static int ListObjects(Ptr user, string prefix, Found found, Ptr argument) {
		foreach (var name in new List<string>(names.Keys))
			if (name.StartsWith(prefix, StringComparison.Ordinal)) {
				var rc = found(argument, name, (ulong)objects[names[name] - 1].Length);
				if (rc < 0) return rc;
			}
		return Code.Ok;
	}

	// A node from create to close: its state table, its events, its errors.
	static void NodeLives(Env env) {
		var blobs = new Dictionary<string, KeyValuePair<byte[], ulong>>();
		var stateReleased = 0;
		var ops = new StateOps {
			StructSize = (uint)Marshal.SizeOf(typeof(StateOps)),
			Get = (Ptr user, string key, Ptr to, ref uint length, ref ulong version) => {
				KeyValuePair<byte[], ulong> found;
				if (!blobs.TryGetValue(key, out found)) return Code.NotFound;
				Marshal.Copy(found.Key, 0, to, Math.Min((int)length, found.Key.Length));
				length = (uint)found.Key.Length;
				version = found.Value;
				return Code.Ok;
			},
			Put = (user, op, key, blob, length, expected) => Guarded(Code.Callback, () => {
				var bytes = new byte[length];
				Marshal.Copy(blob, bytes, 0, bytes.Length);
				blobs[key] = new KeyValuePair<byte[], ulong>(bytes, expected + 1);
			}),
			List = (user, prefix, found, argument) => Code.Ok,
		};
		var config = new NodeConfig {
			StructSize = (uint)Marshal.SizeOf(typeof(NodeConfig)), Env = Table(env),
			State = new Lent { Ops = Table(ops), Release = user => stateReleased++ },
		};
		var error = new Error { StructSize = (uint)sizeof(Error) };
		Ptr node;
		ulong job;
		Check(Native.hvrepl_node_create(ref config, out node, ref error) == Code.Invalid &&
			error.Sentence != "" && stateReleased == 1,
			"a node without a site name is refused with a sentence");
		config.Site = "east";
		Check(Native.hvrepl_node_create(ref config, out node, ref error) == Code.Ok && blobs.Count > 0,
			"node, which saved who it is");
		var operation = new Operation { StructSize = (uint)sizeof(Operation), Type = Code.Suspend };
		Check(Native.hvrepl_node_operate(node, ref operation, out job, ref error) == Code.NotFound &&
			error.Sentence != "", "an unknown VM is refused with a sentence");
		Check(Native.hvrepl_node_destroy(node) == Code.Busy, "destroy before close");
		Check(Native.hvrepl_node_close(node) == Code.Ok, "close");
		var happened = new Event { StructSize = (uint)sizeof(Event) };
		var closed = false;
		for (var i = 0; i < 100 && !closed; i++) {
			Native.hvrepl_node_process(node, 0);
			while (Native.hvrepl_node_next_event(node, ref happened) == 1)
				closed |= happened.Type == Code.EventClosed;
		}
		Check(closed && happened.Seq > 0, "the event CLOSED arrives");
		Check(Native.hvrepl_node_destroy(node) == Code.Ok && stateReleased == 2,
			"destroy, released exactly once");
		GC.KeepAlive(config);
	}

	static int Main(string[] arguments) {
		var env = new Env {
			Monotonic = user => (ulong)Stopwatch.GetTimestamp() * (ulong)(1000000000 / Stopwatch.Frequency),
			Utc = user => (ulong)(DateTime.UtcNow - new DateTime(1970, 1, 1)).Ticks * 100,
			Random = (user, to, length) => Guarded(Code.Callback, () => {
				var bytes = new byte[(int)length];
				using (var source = RandomNumberGenerator.Create()) source.GetBytes(bytes);
				Marshal.Copy(bytes, 0, to, bytes.Length);
			}),
		};
		env.StructSize = (uint)Marshal.SizeOf(typeof(Env));
		var diskOps = new DiskOps {
			StructSize = (uint)Marshal.SizeOf(typeof(DiskOps)), Readv = ReadDisk, Writev = WriteDisk,
			Info = (Ptr user, ref DiskInfo info) => {
				info.DiskSize = (ulong)disk.Length; info.BlockSize = 512; info.Flags = 2;
				return Code.Ok;
			},
		};
		var storageOps = new StorageOps {
			StructSize = (uint)Marshal.SizeOf(typeof(StorageOps)), Open = OpenObject, Size = SizeObject,
			Close = (user, handle) => {}, Write = WriteObject, List = ListObjects,
			Read = (user, op, handle, at, to, length) => Guarded(Code.Callback, () =>
				Marshal.Copy(objects[(int)handle - 1], (int)at, to, (int)length)),
			Flush = (user, op, handle) => Code.Ok,
			Resize = (user, handle, size) => Guarded(Code.Callback, () => Grow(handle, size)),
			Remove = (user, id) => names.Remove(id) ? Code.Ok : Code.NotFound,
		};

		// Sizes as the C compiler sees them come as name=bytes.
		var sizes = new Dictionary<string, Type> {
			{ "env", typeof(Env) }, { "error", typeof(Error) }, { "disk_info", typeof(DiskInfo) },
			{ "disk_ops", typeof(DiskOps) }, { "storage_ops", typeof(StorageOps) },
			{ "group_options", typeof(GroupOptions) }, { "tracker_options", typeof(TrackerOptions) },
			{ "ticket", typeof(Ticket) }, { "extent", typeof(Extent) }, { "iovec", typeof(Iovec) },
			{ "state_ops", typeof(StateOps) }, { "node_config", typeof(NodeConfig) },
			{ "event", typeof(Event) }, { "operation", typeof(Operation) },
		};
		foreach (var argument in arguments) {
			var pair = argument.Split('=');
			Check(Marshal.SizeOf(sizes[pair[0]]) == int.Parse(pair[1]), "size of " + pair[0]);
		}
		Check(arguments.Length == sizes.Count && Native.hvrepl_version() > 0, "version");

		Ptr group, tracker, cut;
		var error = new Error { StructSize = (uint)sizeof(Error) };
		var options = new GroupOptions { Wake = user => woken = true, WriteWait = 60000000000 };
		options.StructSize = (uint)Marshal.SizeOf(typeof(GroupOptions));
		var lacking = env;
		lacking.Random = null;
		Check(Native.hvrepl_group_create(ref lacking, ref options, ref error, out group) == Code.Invalid &&
			error.Sentence.Contains("random"), "a missing callback is refused with a sentence");
		Check(Native.hvrepl_group_create(ref env, ref options, ref error, out group) == Code.Ok, "group");

		var lentDisk = new Lent { Ops = Table(diskOps), Release = user => diskReleased++ };
		var lentStorage = new Lent { Ops = Table(storageOps), Release = user => storageReleased++ };
		var tracking = new TrackerOptions { ObjectId = "disk.hvt" };
		tracking.StructSize = (uint)Marshal.SizeOf(typeof(TrackerOptions));
		tracking.Disk[0] = 1;
		Check(Native.hvrepl_tracker_attach(group, ref lentDisk, ref lentStorage, ref tracking, ref error,
			out tracker) == Code.NotFound && error.Class == 1 && error.Sentence != "",
			"a missing tracker file is refused with a sentence");
		Check(diskReleased == 1 && storageReleased == 1, "what was taken is let go once");
		tracking.Flags = 1;
		Check(Native.hvrepl_tracker_attach(group, ref lentDisk, ref lentStorage, ref tracking, ref error,
			out tracker) == Code.Ok, "attach");
		Check(Native.hvrepl_group_destroy(group) == Code.Busy, "destroy while in use");

		var result = Code.Pending;
		Completed completed = (ticket_, outcome) => result = outcome;
		var ticket = Table(new Ticket {
			StructSize = (uint)sizeof(Ticket), Complete = Marshal.GetFunctionPointerForDelegate(completed),
		});
		var rc = Native.hvrepl_tracker_write_begin(tracker, 8192, 4096, 0, ticket);
		Check(rc == Code.Pending && woken, "the first write of a region waits for its mark");
		for (var i = 0; i < 100 && result == Code.Pending; i++) Native.hvrepl_group_process(group);
		Check(result == Code.Ok, "the ticket is completed by the pump");
		for (var i = 8192; i < 12288; i++) disk[i] = 0xc5;
		Check(Native.hvrepl_tracker_write_end(tracker, ticket, Code.Ok) == Code.Ok, "write_end");

		Check(Native.hvrepl_group_cut(group, 0, ref error, out cut) == Code.Ok, "cut");
		var extents = new Extent[4];
		uint count = 4;
		ulong end;
		Check(Native.hvrepl_cut_next_extents(cut, 0, 0, extents, ref count, out end) == Code.Ok &&
			count == 1 && extents[0].Offset == 8192 && extents[0].Length == 4096,
			"the cut names what was written");
		var content = new byte[4096];
		Check(Native.hvrepl_cut_read(cut, 0, 8192, content, (Size)4096) == Code.Ok &&
			Array.TrueForAll(content, value => value == 0xc5), "the cut reads what was written");
		broken = true;
		Check(Native.hvrepl_cut_read(cut, 0, 8192, content, (Size)4096) == Code.DiskIo,
			"an exception in a callback is a failure of the callback");
		broken = false;
		Check(Native.hvrepl_cut_close(cut, Code.Ok) == Code.Ok, "acknowledge");
		Check(Native.hvrepl_tracker_detach(tracker, 1) == Code.Ok, "detach");
		Check(diskReleased == 2 && storageReleased == 2, "released exactly once each");
		Check(Native.hvrepl_group_destroy(group) == Code.Ok, "destroy");
		NodeLives(env);
		GC.KeepAlive(env); GC.KeepAlive(options); GC.KeepAlive(completed);
		GC.KeepAlive(lentDisk); GC.KeepAlive(lentStorage);
		Console.WriteLine("{0} passed, {1} failed", passed, failed);
		return failed == 0 ? 0 : 1;
	}
}
