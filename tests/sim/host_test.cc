// SPDX-License-Identifier: GPL-2.0
/*
 * Tests of the test host itself, with a core that maps every sector to itself.
 */
#include <utility>

#include <gtest/gtest.h>

#include "sim/device.h"
#include "sim/image.h"
#include "sim/model.h"

using namespace sim;

/* ---- A core that knows nothing ---------------------------------------- */

struct ploop_core {
	ploop_host *host;
	ploop_file *file;
	ploop_op *sync;
	ploop_rq *flushing;
	ploop_node *unused;
	ploop_list parked;
	bool park;
	unsigned works, flushes, timers, drains;
	int64_t flushed_with;
};

/* What this core keeps in a request. */
struct __attribute__((may_alias)) Own {
	ploop_node node;
	uint32_t epoch;
};

static Own &own(ploop_rq *rq)
{
	return *reinterpret_cast<Own *>(rq->core_room);
}

static std::vector<std::string> calls;

static void park_all(ploop_core *core, int error)
{
	for (ploop_node *node = ph_list_take(&core->parked); node;) {
		ploop_rq *rq = reinterpret_cast<ploop_rq *>(reinterpret_cast<char *>(node) -
							    offsetof(ploop_rq, core_room));
		node = node->next;
		ph_rq_end(rq, error);
	}
}

int pc_module_init(void)
{
	calls.clear();
	return 0;
}

void pc_module_exit(void)
{
}

int pc_construct(ploop_host *host, const ploop_table *table, unsigned argc, char **argv,
		 ploop_limits *limits, ploop_core **core, char error[PLOOP_ERROR_BYTES])
{
	ploop_file_facts facts;
	ploop_file *file;
	calls.push_back("construct");
	if (argc != 2) {
		snprintf(error, PLOOP_ERROR_BYTES, "%u arguments", argc);
		return -EINVAL;
	}
	const int result = ph_file_open(host, argv[1], -1, !table->read_only, &facts, &file);
	if (result) {
		snprintf(error, PLOOP_ERROR_BYTES, "cannot open %s", argv[1]);
		return result;
	}
	*core = static_cast<ploop_core *>(ph_alloc(sizeof(ploop_core)));
	(*core)->host = host;
	(*core)->file = file;
	(*core)->sync = ph_op_new(host);
	limits->cluster_sectors = 8;
	return 0;
}

void pc_destroy(ploop_core *core)
{
	calls.push_back("destroy");
	ph_op_free(core->sync);
	ph_file_close(core->file);
	ph_free(core);
}

int pc_preresume(ploop_core *)
{
	calls.push_back("preresume");
	return 0;
}

void pc_resume(ploop_core *core)
{
	calls.push_back("resume");
	ph_start(core->host);
}

void pc_presuspend(ploop_core *core, bool noflush)
{
	calls.push_back(noflush ? "presuspend noflush" : "presuspend");
	park_all(core, noflush && ph_may_requeue(core->host) ? PLOOP_END_REQUEUE : -ENOSPC);
}

void pc_presuspend_undo(ploop_core *)
{
	calls.push_back("undo");
}

void pc_postsuspend(ploop_core *core)
{
	ploop_wait wait;
	calls.push_back("postsuspend");
	park_all(core, -ENOSPC);
	ph_wait_init(&wait);
	core->sync->kind = PLOOP_OP_SYNC;
	core->sync->file = core->file;
	core->sync->owner = &wait;
	core->sync->done = [](ploop_op *op, int64_t) {
		ph_wait_signal(static_cast<ploop_wait *>(op->owner));
	};
	ph_op_start(core->sync);
	ph_wait(&wait);
	ph_quiesce(core->host);
}

uint32_t pc_map_limit(ploop_core *, uint64_t sector)
{
	return uint32_t(8 - sector % 8);
}

static void start_io(ploop_rq *rq, uint32_t flags)
{
	const uint32_t bytes = uint32_t(rq->nr_sectors * SECTOR);
	ph_rq_io(rq, rq->core->file, rq->sector * SECTOR, 0, bytes, flags);
}

static void start_flush(ploop_core *core, ploop_rq *rq)
{
	core->flushing = rq;
	core->sync->kind = PLOOP_OP_SYNC;
	core->sync->file = core->file;
	core->sync->owner = core;
	core->sync->done = [](ploop_op *op, int64_t result) {
		auto *owner = static_cast<ploop_core *>(op->owner);
		ph_rq_end(std::exchange(owner->flushing, nullptr), int(result));
	};
	ph_op_start(core->sync);
}

void pc_map(ploop_core *core, ploop_rq *rq)
{
	own(rq).epoch = ph_epoch_enter(core->host);
	if (rq->op == PLOOP_RQ_FLUSH) {
		ph_epoch_exit(core->host, own(rq).epoch);
		start_flush(core, rq);
	} else if (core->park) {
		ph_epoch_exit(core->host, own(rq).epoch);
		ph_list_push(&core->parked, &own(rq).node);
	} else {
		start_io(rq, rq->flags & PLOOP_RQ_INLINE ? PLOOP_IO_INLINE : 0);
	}
}

void pc_rq_done(ploop_rq *rq, int64_t result)
{
	if (result == -EAGAIN || result == -EOPNOTSUPP) {
		start_io(rq, 0);
		return;
	}
	ph_epoch_exit(rq->core->host, own(rq).epoch);
	ph_rq_end(rq, result < 0 ? int(result) : 0);
}

void pc_epoch_drained(ploop_core *core)
{
	core->drains++;
}

void pc_timer(ploop_core *core, ploop_timer)
{
	core->timers++;
}

void pc_work(ploop_core *core)
{
	core->works++;
}

void pc_flush(ploop_core *core)
{
	core->flushes++;
	core->flushed_with = ph_file_sync(core->file);
}

int pc_message(ploop_core *core, unsigned int argc, char **argv, char *reply, unsigned int bytes)
{
	if (argc == 1 && !strcmp(argv[0], "long")) {
		memset(reply, 'a', bytes - 1);
		reply[bytes - 1] = '\0';
		if (bytes > 200)
			reply[200] = '\0';
		return 1;
	}
	core->park = argc == 1 && !strcmp(argv[0], "park");
	return 0;
}

void pc_status(ploop_core *, ploop_status, char *text, size_t bytes)
{
	snprintf(text, bytes, "identity");
}

/* ---- Helpers ---------------------------------------------------------- */

namespace {

/* An operation on a file, without a core. */
class Op {
public:
	Op(Host &host, ploop_file *file, ploop_op_kind kind, uint64_t offset = 0,
	   uint64_t bytes = 0, uint8_t fill = 0)
		: op_(ph_op_new(&host))
	{
		op_->kind = kind;
		op_->file = file;
		op_->offset = offset;
		op_->bytes = bytes;
		op_->owner = this;
		if (kind <= PLOOP_OP_WRITE_BUFFERED) {
			op_->buffer = ph_alloc(bytes);
			memset(op_->buffer, fill, bytes);
		}
		op_->done = [](ploop_op *op, int64_t result) {
			auto *self = static_cast<Op *>(op->owner);
			self->ended = true;
			self->result = result;
		};
		ph_op_start(op_);
	}
	~Op()
	{
		if (boot_ != World::current().boot())
			return;
		ph_free(op_->buffer);
		ph_op_free(op_);
	}
	int64_t wait()
	{
		World::current().run_until([this] { return ended; });
		return result;
	}
	bool ended = false;
	int64_t result = 0;

private:
	ploop_op *op_;
	uint64_t boot_ = World::current().boot();
};

struct Fixture {
	explicit Fixture(uint64_t seed = 1, Order order = Order::Random, uint64_t bytes = 0)
		: world(seed, order), file(world.add_file("/img", bytes)),
		  host(world.add_host("host", 1))
	{
		ploop_file_facts facts;
		EXPECT_EQ(ph_file_open(&host, "/img", -1, true, &facts, &handle), 0);
	}
	~Fixture()
	{
		if (!world.boot())
			ph_file_close(handle);
	}
	int64_t run(ploop_op_kind kind, uint64_t offset = 0, uint64_t bytes = 0, uint8_t fill = 0)
	{
		return Op(host, handle, kind, offset, bytes, fill).wait();
	}
	uint8_t byte(uint64_t offset) { return file.peek(offset, 1)[0]; }

	World world;
	File &file;
	Host &host;
	ploop_file *handle = nullptr;
};

} /* namespace */

/* ---- Power cuts ------------------------------------------------------- */

TEST(SimFile, DropKeepsOnlyWhatIsSynced)
{
	Fixture f;
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 4096, 1), 4096);
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), 0);
	EXPECT_TRUE(f.file.clean());
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 4096, 2), 4096);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 8192, 4096, 3), 4096);
	EXPECT_EQ(f.byte(0), 2);
	f.world.power_cut(Cut::Drop);
	EXPECT_EQ(f.byte(0), 1);
	EXPECT_EQ(f.file.size(), 4096u);
}

TEST(SimFile, KeepKeepsAll)
{
	Fixture f;
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 8192, 4096, 3), 4096);
	EXPECT_EQ(f.run(PLOOP_OP_TRUNCATE, 1 << 20), 0);
	f.world.power_cut(Cut::Keep);
	EXPECT_EQ(f.byte(8192), 3);
	EXPECT_EQ(f.file.size(), 1u << 20);
}

TEST(SimFile, PartialTearsBySectorAndKeepsOrder)
{
	std::set<std::vector<uint8_t>> seen;
	Fixture f;
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 2048, 1), 2048);
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), 0);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 2048, 2), 2048);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 1024, 3), 1024);
	for (uint64_t seed = 0; seed < 2000; seed++) {
		const Image image = f.file.crash_image(Cut::Partial, seed);
		std::vector<uint8_t> values;
		for (uint64_t sector = 0; sector < 4; sector++) {
			const std::vector<uint8_t> data = image.read(sector * SECTOR, SECTOR);
			EXPECT_EQ(std::set<uint8_t>(data.begin(), data.end()).size(), 1u);
			values.push_back(data[0]);
		}
		seen.insert(values);
	}
	/* Two sectors of three values, two of two. */
	EXPECT_EQ(seen.size(), 36u);
	f.world.power_cut(Cut::Drop);
}

TEST(SimFile, SizeMayBeLost)
{
	std::set<uint64_t> sizes;
	Fixture f;
	EXPECT_EQ(f.run(PLOOP_OP_TRUNCATE, 65536), 0);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 65536, 4096, 1), 4096);
	for (uint64_t seed = 0; seed < 100; seed++)
		sizes.insert(f.file.crash_image(Cut::Partial, seed).size());
	EXPECT_EQ(sizes, (std::set<uint64_t>{ 0, 65536, 65536 + 4096 }));
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), 0);
	f.world.power_cut(Cut::Drop);
	EXPECT_EQ(f.file.size(), 65536u + 4096);
}

TEST(SimFile, SyncCoversOnlyWhatHadEnded)
{
	for (uint64_t seed = 1; seed < 50; seed++) {
		Fixture f(seed);
		Op write(f.host, f.handle, PLOOP_OP_WRITE, 0, 4096, 1);
		const bool before = write.ended;
		Op sync(f.host, f.handle, PLOOP_OP_SYNC);
		EXPECT_EQ(write.wait(), 4096);
		EXPECT_EQ(sync.wait(), 0);
		EXPECT_EQ(f.file.clean(), before);
		f.world.power_cut(Cut::Drop);
		EXPECT_EQ(f.byte(0), before ? 1 : 0);
	}
}

TEST(SimFile, WritesInFlightMayReachTheDisk)
{
	std::set<uint8_t> seen;
	for (uint64_t seed = 0; seed < 50; seed++) {
		Fixture f(1, Order::Fifo, 4096);
		Op write(f.host, f.handle, PLOOP_OP_WRITE, 0, 512, 1);
		f.world.power_cut(Cut::Partial, seed);
		EXPECT_FALSE(write.ended);
		seen.insert(f.byte(0));
	}
	EXPECT_EQ(seen, (std::set<uint8_t>{ 0, 1 }));
}

TEST(SimFile, CutAtEveryPoint)
{
	uint64_t points = 0;
	std::set<uint8_t> seen;
	for (uint64_t n = 1; !points || n <= points; n++) {
		Fixture f(7, Order::Random, 8192);
		f.world.cut_at(n);
		try {
			f.run(PLOOP_OP_WRITE, 0, 4096, 1);
			f.run(PLOOP_OP_SYNC);
			f.run(PLOOP_OP_WRITE, 4096, 4096, 1);
			points = f.world.points();
		} catch (const PowerCut &) {
			EXPECT_TRUE(f.world.stopped());
		}
		if (!points) {
			EXPECT_EQ(f.world.points(), n);
		}
		f.world.power_cut(Cut::Drop);
		EXPECT_EQ(f.byte(0), n >= 4 ? 1 : 0);
		EXPECT_EQ(f.byte(4096), 0);
	}
	EXPECT_EQ(points, 6u);
}

/* ---- Space ------------------------------------------------------------ */

TEST(SimDisk, SpaceIsAccounted)
{
	Fixture f;
	f.world.disk.capacity = 4 * UNIT;
	EXPECT_EQ(f.run(PLOOP_OP_TRUNCATE, 1 << 20), 0);
	EXPECT_EQ(f.world.disk.used(), 0u);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 3 * UNIT, 1), int64_t(3 * UNIT));
	EXPECT_EQ(f.world.disk.used(), 3 * UNIT);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 4 * UNIT, 2 * UNIT, 1), -ENOSPC);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 3 * UNIT, 2), int64_t(3 * UNIT));
	EXPECT_EQ(f.run(PLOOP_OP_PUNCH, 512, 2 * UNIT), 0);
	EXPECT_EQ(f.world.disk.used(), 2 * UNIT);
	EXPECT_EQ(f.byte(511), 2);
	EXPECT_EQ(f.byte(512), 0);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 4 * UNIT, 2 * UNIT, 1), int64_t(2 * UNIT));
	EXPECT_EQ(f.run(PLOOP_OP_RESERVE, 2 << 20, UNIT), -ENOSPC);
	EXPECT_EQ(f.run(PLOOP_OP_TRUNCATE, UNIT), 0);
	EXPECT_EQ(f.run(PLOOP_OP_RESERVE, 2 << 20, UNIT), 0);
	EXPECT_EQ(f.file.size(), UNIT);
	EXPECT_EQ(f.world.disk.used(), 2 * UNIT);
	f.world.disk.capacity = UNIT;
	EXPECT_EQ(f.world.disk.free(), 0u);
}

TEST(SimDisk, ShortWrites)
{
	Fixture f;
	f.world.disk.capacity = 2 * UNIT;
	f.world.disk.short_writes = true;
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 512, 4 * UNIT, 1), int64_t(2 * UNIT - 512));
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 2 * UNIT, UNIT, 1), -ENOSPC);
}

TEST(SimDisk, CopyOnWriteNeedsSpaceForOverwrites)
{
	Fixture f;
	f.world.disk.copy_on_write = true;
	f.world.disk.capacity = 3 * UNIT;
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 2 * UNIT, 1), int64_t(2 * UNIT));
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, UNIT, 2), int64_t(UNIT));
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, UNIT, 3), -ENOSPC);
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), -ENOSPC);
	f.world.disk.capacity = 4 * UNIT;
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), 0);
	EXPECT_EQ(f.world.disk.used(), 2 * UNIT);
	EXPECT_TRUE(f.file.clean());
}

TEST(SimDisk, SixteenTerabytes)
{
	Fixture f;
	const uint64_t size = 16ull << 40;
	EXPECT_EQ(f.run(PLOOP_OP_RESERVE, 0, size), 0);
	EXPECT_EQ(f.run(PLOOP_OP_TRUNCATE, size), 0);
	EXPECT_EQ(f.world.disk.used(), size);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, size - 512, 512, 1), 512);
	EXPECT_EQ(f.run(PLOOP_OP_PUNCH, UNIT, size - UNIT), 0);
	EXPECT_EQ(f.world.disk.used(), UNIT);
	EXPECT_EQ(f.byte(size - 1), 0);
}

/* ---- Faults ----------------------------------------------------------- */

TEST(SimFault, SyncErrorIsToldOnceAndTheDataIsLost)
{
	Fixture f(1, Order::Random, 4096);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 4096, 1), 4096);
	f.world.fail_nth({ .calls = call_of(PLOOP_OP_SYNC) });
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), -EIO);
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), 0);
	EXPECT_FALSE(f.file.clean());
	f.world.power_cut(Cut::Drop);
	EXPECT_EQ(f.byte(0), 0);
}

TEST(SimFault, SyncsThatOverlapAreAllToldOfAnError)
{
	for (uint64_t seed = 1; seed < 50; seed++) {
		Fixture f(seed, Order::Random, 4096);
		f.world.at_once_chance = 0;
		EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 4096, 1), 4096);
		f.world.fail_nth({ .calls = call_of(PLOOP_OP_SYNC) });
		Op first(f.host, f.handle, PLOOP_OP_SYNC);
		Op second(f.host, f.handle, PLOOP_OP_SYNC);
		const int64_t third = ph_file_sync(f.handle);
		const bool overlaps = !first.ended || first.result == -EIO;
		EXPECT_TRUE(overlaps);
		EXPECT_EQ(first.wait(), -EIO);
		/* Who was durable before the error is not concerned. */
		if (second.wait() == 0 || third == 0) {
			EXPECT_TRUE(f.file.clean());
		}
		EXPECT_EQ(ph_file_sync(f.handle), 0);
		f.world.power_cut(Cut::Drop);
		EXPECT_EQ(f.byte(0), second.result == 0 || third == 0 ? 1 : 0);
	}
}

TEST(SimFault, ADsyncWriteIsDurableWhenItEnds)
{
	for (uint32_t flags : { 0u, PLOOP_IO_DSYNC }) {
		Fixture f(1, Order::Random, 4096);
		ploop_core core{};
		core.host = &f.host;
		core.file = f.handle;
		Request rq;
		f.host.core = &core;
		rq.prepare(&core, PLOOP_RQ_WRITE, 0, 8, 0);
		std::fill(rq.buffer.begin(), rq.buffer.end(), 1);
		own(&rq).epoch = ph_epoch_enter(&f.host);
		ph_rq_io(&rq, f.handle, 0, 0, 4096, flags);
		f.world.run_until([&] { return rq.ended(); });
		f.world.power_cut(Cut::Drop);
		EXPECT_EQ(f.byte(0), flags ? 1 : 0);
	}
}

TEST(SimFault, NoSpaceAtSyncLosesOnlyThePageCache)
{
	Fixture f(1, Order::Random, 8192);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 4096, 1), 4096);
	f.file.take_direct(Direct::Never);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE_BUFFERED, 4096 + 64, 100, 1), 100);
	EXPECT_EQ(f.byte(4096 + 64), 1);
	f.world.fail_nth({ .calls = call_of(PLOOP_OP_SYNC), .error = -ENOSPC });
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), -ENOSPC);
	/* The page is gone, for readers, too. */
	EXPECT_EQ(f.byte(4096 + 64), 0);
	EXPECT_EQ(f.run(PLOOP_OP_SYNC), 0);
	f.world.power_cut(Cut::Drop);
	EXPECT_EQ(f.byte(0), 1);
	EXPECT_EQ(f.byte(4096 + 64), 0);
}

TEST(SimFault, NthAndSticky)
{
	Fixture f(1, Order::Fifo);
	Fault &second = f.world.fail_nth({ .calls = CALL_ALLOC, .nth = 2 });
	void *first = ph_alloc(10);
	EXPECT_NE(first, nullptr);
	EXPECT_EQ(ph_alloc(10), nullptr);
	ph_free(first);
	EXPECT_EQ(second.fired, 1u);
	f.world.fail_nth({ .calls = call_of(PLOOP_OP_READ), .error = -EIO, .sticky = true });
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 0, 512, 1), 512);
	EXPECT_EQ(f.run(PLOOP_OP_READ, 0, 512), -EIO);
	EXPECT_EQ(f.run(PLOOP_OP_READ, 0, 512), -EIO);
	f.world.clear_faults();
	EXPECT_EQ(f.run(PLOOP_OP_READ, 0, 1024), 512);
	f.world.fail_nth({ .calls = CALL_ALL, .error = 0, .short_bytes = 512 });
	EXPECT_EQ(Op(f.host, f.handle, PLOOP_OP_SYNC).wait(), 0);
	EXPECT_EQ(f.run(PLOOP_OP_READ, 1, 512), 511);
}

TEST(SimFault, UnalignedAndReadOnly)
{
	Fixture f(1, Order::Fifo, 8192);
	f.file.take_direct(Direct::Blocks);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE, 512, 512, 1), 512);
	EXPECT_EQ(f.run(PLOOP_OP_WRITE_BUFFERED, 70, 3, 2), 3);
	EXPECT_EQ(f.byte(69), 0);
	EXPECT_EQ(f.byte(72), 2);
	EXPECT_EQ(f.byte(512), 1);
	f.world.add_fd(3, "/img", false);
	ploop_file_facts facts;
	ploop_file *lower;
	EXPECT_EQ(ph_file_open(&f.host, nullptr, 3, true, &facts, &lower), 0);
	EXPECT_FALSE(facts.writable);
	EXPECT_EQ(Op(f.host, lower, PLOOP_OP_WRITE, 0, 4096).wait(), -EBADF);
	ph_file_close(lower);
	EXPECT_EQ(ph_file_open(&f.host, nullptr, 4, true, &facts, &lower), -ENOENT);
}

/* Without the lock, what was written between the two steps would be lost. */
TEST(SimFault, WhoWritesAPartOfABlockKeepsOthersOut)
{
	for (const bool locks : { true, false }) {
		Fixture f(1, Order::Random, 8192);
		f.file.take_direct(Direct::Blocks);
		f.world.locks_parts = locks;
		f.world.at_once_chance = 0;
		f.world.part_ms = 10;
		Op part(f.host, f.handle, PLOOP_OP_WRITE_BUFFERED, 512, 512, 1);
		f.world.advance_ms(5);
		Op whole(f.host, f.handle, PLOOP_OP_WRITE, 0, 4096, 2);
		Op another(f.host, f.handle, PLOOP_OP_WRITE_BUFFERED, 4096 + 512, 512, 3);
		Op behind(f.host, f.handle, PLOOP_OP_WRITE, 4096, 4096, 4);
		f.world.advance_ms(1);
		EXPECT_EQ(whole.ended, !locks);
		EXPECT_TRUE(behind.ended);
		part.wait();
		whole.wait();
		another.wait();
		EXPECT_EQ(f.byte(4095), locks ? 2 : 0);
	}
}

/* ---- The scheduler ---------------------------------------------------- */

static uint64_t some_run(uint64_t seed)
{
	World world(seed);
	Module module(world);
	world.add_file("/img", 1 << 20);
	Device device(world);
	EXPECT_EQ(device.create("3 /img", 2048), 0);
	Model model;
	Checked io(world, device, model);
	for (int i = 0; i < 50; i++) {
		const uint64_t sector = world.random(1900);
		if (world.random(3) == 0)
			io.read(sector, 16);
		else
			io.write(sector, 16);
		if (world.random(4) == 0)
			world.step();
	}
	io.wait_all();
	io.flush();
	io.wait_all();
	EXPECT_EQ(io.problem, "");
	EXPECT_EQ(device.suspend(), 0);
	EXPECT_EQ(device.resume(), 0);
	io.read(0, 2048);
	io.wait_all();
	EXPECT_EQ(io.problem, "");
	device.remove();
	return world.trace_hash();
}

TEST(SimWorld, ASeedReplaysExactly)
{
	std::set<uint64_t> hashes;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		const uint64_t hash = some_run(seed);
		EXPECT_EQ(some_run(seed), hash);
		hashes.insert(hash);
	}
	EXPECT_EQ(hashes.size(), 20u);
}

TEST(SimWorld, TimersMoveOnlyWhenNothingElseRuns)
{
	Fixture f(1, Order::Fifo);
	std::vector<std::string> order;
	const auto note = [&order](const char *text) {
		return [&order, text] { order.push_back(text); };
	};
	f.world.post(nullptr, "b", Context::Irq, note("b"), 10);
	f.world.post(nullptr, "c", Context::Irq, note("c"), 20);
	f.world.post(nullptr, "a", Context::Irq, note("a"));
	f.world.run_idle();
	EXPECT_EQ(order, (std::vector<std::string>{ "a" }));
	f.world.advance_ms(10);
	EXPECT_EQ(order, (std::vector<std::string>{ "a", "b" }));
	f.world.advance_ms(9);
	EXPECT_EQ(f.world.now_ms(), 19u);
	EXPECT_EQ(order.size(), 2u);
	while (f.world.step())
		;
	EXPECT_EQ(f.world.now_ms(), 20u);
}

TEST(SimWorld, KicksTimersAndEpochs)
{
	Fixture f(3);
	ploop_core core{};
	f.host.core = &core;
	ph_start(&f.host);
	ph_kick(&f.host);
	ph_kick(&f.host);
	ph_timer_arm(&f.host, PLOOP_TIMER_RETRY, 100);
	ph_timer_arm(&f.host, PLOOP_TIMER_RETRY, 200);
	ph_timer_arm(&f.host, PLOOP_TIMER_COMMIT, 150);
	ph_timer_stop(&f.host, PLOOP_TIMER_COMMIT);
	f.world.advance_ms(199);
	EXPECT_EQ(core.works, 1u);
	EXPECT_EQ(core.timers, 0u);
	f.world.advance_ms(1);
	EXPECT_EQ(core.timers, 1u);

	const uint32_t old = ph_epoch_enter(&f.host);
	ph_epoch_flip(&f.host);
	const uint32_t now = ph_epoch_enter(&f.host);
	EXPECT_NE(old, now);
	ph_epoch_exit(&f.host, now);
	f.world.run_idle();
	EXPECT_EQ(core.drains, 0u);
	ph_epoch_exit(&f.host, old);
	f.world.run_idle();
	EXPECT_EQ(core.drains, 1u);
	ph_event(&f.host);
	ph_quiesce(&f.host);
	EXPECT_EQ(f.host.events, 1u);
}

TEST(SimWorld, FlushesAreNeverTwoAtATimeAndNeverLost)
{
	for (uint64_t seed = 1; seed < 50; seed++) {
		Fixture f(seed, Order::Random, 4096);
		ploop_core core{};
		core.host = &f.host;
		core.file = f.handle;
		f.host.core = &core;
		ph_start(&f.host);
		f.world.delay_ms[call_of(PLOOP_OP_SYNC)] = 10;
		f.world.at_once_chance = 0;
		ph_flush_kick(&f.host);
		ph_flush_kick(&f.host);
		f.world.run_idle();
		EXPECT_EQ(core.flushes, 1u);
		/* While it runs: once more, when it has ended. */
		ph_flush_kick(&f.host);
		ph_flush_kick(&f.host);
		f.world.run_idle();
		EXPECT_EQ(core.flushes, 1u);
		f.world.advance_ms(10);
		EXPECT_EQ(core.flushes, 2u);
		ph_quiesce(&f.host);
		EXPECT_FALSE(f.host.flushing);
		EXPECT_GE(f.world.now_ms(), 20u);
	}
}

TEST(SimWorld, TasksWaitForEachOther)
{
	Fixture f(5);
	ploop_wait wait;
	bool first = false;
	ph_wait_init(&wait);
	f.world.spawn("waits", [&] {
		ph_wait(&wait);
		first = true;
	});
	f.world.spawn("signals", [&] {
		f.world.advance_ms(5);
		EXPECT_FALSE(first);
		ph_wait_signal(&wait);
	});
	f.world.call("caller", [&] { f.world.run_until([&] { return first; }); });
	EXPECT_EQ(f.world.now_ms(), 5u);
	f.world.run_idle();
	EXPECT_THROW(f.world.call("throws", [] { throw 1; }), int);
}

TEST(SimDeathTest, ViolationsOfTheContract)
{
	GTEST_FLAG_SET(death_test_style, "threadsafe");
	Fixture f(1);
	EXPECT_DEATH(
		{
			ploop_lock locks[2];
			ph_lock_init(&locks[0], 1);
			ph_lock_init(&locks[1], 1);
			ph_lock(&locks[0]);
			ph_lock(&locks[1]);
		},
		"of this kind is held");
	EXPECT_DEATH(
		{
			ploop_lock lock;
			ph_lock_init(&lock, 0);
			ph_lock(&lock);
			ph_file_sync(f.handle);
		},
		"ph_file_sync waits");
	EXPECT_DEATH(f.world.run_until([] { return false; }), "deadlock");
	EXPECT_DEATH(f.world.in_context(Context::Irq, [] { ph_free(ph_alloc(8)); }), "ph_alloc");
	EXPECT_DEATH(ph_epoch_exit(&f.host, 0), "not entered");
	EXPECT_DEATH(f.world.end_host(f.host), "left open");
	EXPECT_DEATH(
		{
			Request request;
			request.prepare(nullptr, PLOOP_RQ_READ, 0, 8, 0);
			ph_rq_end(&request, 0);
			ph_rq_end(&request, 0);
		},
		"use-after-poison|ended twice");
}

/* ---- Device ----------------------------------------------------------- */

TEST(SimDevice, OrderOfATableSwap)
{
	World world(1);
	Module module(world);
	world.add_file("/img", 1 << 20);
	Device device(world);
	EXPECT_EQ(device.create("3", 2048), -EINVAL);
	EXPECT_EQ(device.error, "1 arguments");
	EXPECT_EQ(device.create("3 /img", 2048), 0);
	calls.clear();
	EXPECT_EQ(device.load("3 /img", 2048), 0);
	EXPECT_EQ(device.resume(), 0);
	EXPECT_EQ(calls, (std::vector<std::string>{ "construct", "presuspend", "postsuspend",
						    "preresume", "resume", "destroy" }));
	calls.clear();
	EXPECT_EQ(device.suspend(true), 0);
	device.remove();
	EXPECT_EQ(calls, (std::vector<std::string>{ "presuspend noflush", "postsuspend",
						    "destroy" }));
}

TEST(SimDevice, RequeuedRequestsComeBack)
{
	for (uint64_t seed = 1; seed < 30; seed++) {
		World world(seed);
		Module module(world);
		File &file = world.add_file("/img", 1 << 20);
		Device device(world);
		ASSERT_EQ(device.create("3 /img", 2048), 0);
		EXPECT_EQ(device.message("park"), 0);
		/* Split in three, by limits of 8 sectors. */
		const std::vector<uint8_t> data = Model::pattern(1, 7, 10);
		const BioPtr bio = device.submit(PLOOP_RQ_WRITE, 7, 10, 0, data);
		world.run_idle();
		EXPECT_EQ(device.in_flight(), 3u);
		EXPECT_EQ(device.suspend(true), 0);
		EXPECT_EQ(device.requeued(), 3u);
		const BioPtr later = device.submit(PLOOP_RQ_READ, 7, 10);
		world.run_idle();
		EXPECT_FALSE(bio->done || later->done);
		EXPECT_EQ(device.load("3 /img", 2048), 0);
		EXPECT_EQ(device.resume(), 0);
		EXPECT_EQ(device.wait(bio), 0);
		EXPECT_EQ(device.wait(later), 0);
		EXPECT_EQ(file.peek(7 * SECTOR, 10 * SECTOR), data);
		EXPECT_EQ(device.requeue_lost, 0u);
	}
}

TEST(SimDevice, UndoneSuspendAndMessages)
{
	World world(1);
	Module module(world);
	world.add_file("/img", 1 << 20);
	world.delay_ms[CALL_RQ_WRITE] = 1000;
	Device device(world);
	ASSERT_EQ(device.create("3 /img", 2048), 0);
	calls.clear();
	world.inline_io = Inline::Always;
	world.at_once_chance = 0;
	const BioPtr bio = device.submit(PLOOP_RQ_WRITE, 0, 1, 0, Model::pattern(1, 0, 1));
	world.post(nullptr, "signal", Context::Irq, [] {}, 500);
	EXPECT_EQ(device.suspend(false, [&] { return world.now_ms() >= 500; }), -EINTR);
	EXPECT_EQ(calls, (std::vector<std::string>{ "presuspend", "undo" }));
	EXPECT_EQ(device.wait(bio), 0);
	std::string reply;
	EXPECT_EQ(device.message("long", &reply), 1);
	EXPECT_EQ(reply, std::string(200, 'a'));
	EXPECT_EQ(device.status(), "identity");
}

TEST(SimDevice, AcknowledgedDataSurvivesEveryCut)
{
	for (uint64_t seed = 1; seed <= 60; seed++) {
		World world(seed);
		Module module(world);
		world.add_file("/img", 64 * SECTOR);
		auto device = std::make_unique<Device>(world);
		ASSERT_EQ(device->create("3 /img", 64), 0);
		Model model;
		Checked io(world, *device, model);
		world.cut_at(1 + seed);
		try {
			for (int i = 0; i < 20; i++) {
				io.write(world.random(48), 16);
				io.read(world.random(48), 16);
				if (world.random(3) == 0) {
					io.wait_all();
					io.flush();
					io.wait_all();
				}
			}
			io.wait_all();
		} catch (const PowerCut &) {
		}
		EXPECT_EQ(io.problem, "");
		world.power_cut(Cut(seed % 3), seed);
		module.reboot();
		Device again(world);
		ASSERT_EQ(again.create("3 /img", 64), 0);
		io.use(again);
		io.verify_cut(64);
		EXPECT_EQ(io.problem, "") << "seed " << seed;
		device.reset();
	}
}

/* ---- Model and image -------------------------------------------------- */

TEST(SimModel, KnowsWhatMayBeSeen)
{
	Model model;
	const uint64_t first = model.write_begin(0, 2);
	EXPECT_EQ(model.check_cut(0, Model::pattern(0, 0, 2)), "");
	EXPECT_EQ(model.check_cut(0, Model::pattern(model.id_of(first), 0, 2)), "");
	EXPECT_NE(model.check_cut(0, Model::pattern(9, 0, 2)), "");
	EXPECT_NE(model.check_cut(0, std::vector<uint8_t>(1024, 7)), "");
	model.write_end(first, true);
	const std::vector<uint8_t> one = Model::pattern(model.id_of(first), 0, 2);
	const std::vector<uint8_t> none(1024);
	EXPECT_NE(model.read_end(model.read_begin(), 0, none), "");
	EXPECT_EQ(model.read_end(model.read_begin(), 0, one), "");
	/* Acknowledged, but not yet durable. */
	EXPECT_EQ(model.check_cut(0, none), "");
	const uint64_t flush = model.flush_begin();
	const uint64_t second = model.write_begin(0, 1);
	model.write_end(second, true);
	model.flush_end(flush, true);
	EXPECT_NE(model.check_cut(0, none), "");
	EXPECT_EQ(model.check_cut(0, one), "");
	EXPECT_EQ(model.check_cut(0, Model::pattern(model.id_of(second), 0, 1)), "");
	EXPECT_NE(model.read_end(model.read_begin(), 0, one), "");
	/* A discard may do nothing; a failed write may have been done. */
	const uint64_t zeros = model.zero_begin(1, 1, true);
	model.write_end(zeros, true);
	EXPECT_EQ(model.read_end(model.read_begin(), 1, Model::pattern(0, 1, 1)), "");
	const uint64_t id = model.id_of(first);
	EXPECT_EQ(model.read_end(model.read_begin(), 1, Model::pattern(id, 1, 1)), "");
	/* The data of another sector. */
	EXPECT_NE(model.read_end(model.read_begin(), 1, Model::pattern(id, 0, 1)), "");
}

TEST(SimImage, TheCheckerSeesDamage)
{
	World world(1);
	const ImageSpec spec{ .cluster_sectors = 8,
			      .entries = 2000,
			      .bat = { { 0, 3 }, { 7, 2 } } };
	File &file = add_image(world, "/img", spec);
	EXPECT_EQ(spec.head_clusters(), 2u);
	ImageReport report = check_image(file.now());
	EXPECT_TRUE(report.clean()) << report.text();
	EXPECT_EQ(report.used, 2u);
	EXPECT_EQ(report.bat[7], 2u);

	file.poke(2 * 4096 + 512, Model::pattern(5, 7 * 8 + 1, 1));
	EXPECT_EQ(read_image(file.now(), 7 * 8 + 1, 1), Model::pattern(5, 7 * 8 + 1, 1));

	file.set_size(5 * 4096 + 1);
	report = check_image(file.now());
	EXPECT_EQ(report.leaked_end, 2u);
	EXPECT_EQ(report.unclean.size(), 2u);
	EXPECT_TRUE(report.ok());
	const auto with_entry = [&](uint32_t index, uint8_t value) {
		Image image = file.now();
		const uint8_t bytes[4] = { value, 0, 0, 0 };
		image.write(64 + 4 * index, bytes);
		return check_image(image).text();
	};
	EXPECT_NE(with_entry(9, 3).find("entry 9 = 3 is entry 0's"), std::string::npos);
	EXPECT_NE(with_entry(9, 1).find("in the BAT"), std::string::npos);
	EXPECT_NE(with_entry(9, 99).find("beyond the end"), std::string::npos);
	EXPECT_NE(with_entry(9, 5).find("cut by the end"), std::string::npos);
	EXPECT_NE(with_entry(2001, 1).find("tail"), std::string::npos);
}
