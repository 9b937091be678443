// SPDX-License-Identifier: GPL-2.0
#include "sim/device.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <sstream>
#include <utility>

namespace sim {

static void expect(bool condition, const std::string &why)
{
	if (!condition)
		fail(why);
}

static std::vector<std::string> split(const std::string &line)
{
	std::istringstream in(line);
	std::vector<std::string> words;
	for (std::string word; in >> word;)
		words.push_back(word);
	return words;
}

/* The words as the kernel passes them: writable, and gone after the call. */
struct Argv {
	std::vector<std::string> words;
	std::vector<char *> pointers;

	explicit Argv(std::vector<std::string> w) : words(std::move(w))
	{
		for (std::string &word : words)
			pointers.push_back(word.data());
	}
	unsigned count() const { return unsigned(pointers.size()); }
};

/* ---- Module ----------------------------------------------------------- */

Module::Module(World &world) : world_(world)
{
	reboot();
}

void Module::reboot()
{
	boot_ = world_.boot();
	world_.call("module init", [] { expect(pc_module_init() == 0, "pc_module_init failed"); });
}

Module::~Module()
{
	if (boot_ == world_.boot() && !world_.stopped() && !std::uncaught_exceptions())
		world_.call("module exit", [] { pc_module_exit(); });
}

/* ---- Tables ----------------------------------------------------------- */

Device::Device(World &world, std::string name)
	: inline_chance(world.order == Order::Random ? 0.75 : 1), world_(world),
	  name_(std::move(name)), id_(world.next_device_id()), boot_(world.boot())
{
}

Device::~Device()
{
	try {
		if (!dead() && !world_.stopped() && !std::uncaught_exceptions())
			remove();
	} catch (const PowerCut &) {
	}
	for (Request *request : requests_)
		delete request;
}

Host &Device::host() const
{
	expect(live_ && live_->host, "no live table");
	return *live_->host;
}

int Device::construct(const std::vector<std::string> &words, const ploop_table &table)
{
	auto fresh = std::make_unique<Table>();
	fresh->sectors = table.nr_sectors;
	if (words != std::vector<std::string>{ "error" }) {
		Host &host = world_.add_host(name_ + "/" + std::to_string(++instances_), id_);
		host.may_requeue = [this] { return noflush_; };
		host.on_event = [this] { events++; };
		Argv argv(words);
		char text[PLOOP_ERROR_BYTES] = "";
		const int result = pc_construct(&host, &table, argv.count(), argv.pointers.data(),
						&limits, &fresh->core, text);
		error = text;
		if (result) {
			expect(result < 0, "pc_construct gave " + std::to_string(result));
			expect(!error.empty(), "a constructor's error without a text");
			world_.end_host(host);
			return result;
		}
		expect(host.quiet, "an instance is started by its constructor");
		host.core = fresh->core;
		fresh->host = &host;
	}
	destroy(std::exchange(loaded_, std::move(fresh)));
	return 0;
}

int Device::load(const std::string &line, uint64_t sectors, bool read_only)
{
	const ploop_table table = { sectors, read_only };
	int result = 0;
	expect(!removed_, "loads into a removed device");
	world_.call(name_ + " load", [&] { result = construct(split(line), table); });
	return result;
}

int Device::create(const std::string &line, uint64_t sectors, bool read_only)
{
	const int result = load(line, sectors, read_only);
	return result ? result : resume();
}

void Device::clear()
{
	world_.call(name_ + " clear", [this] { destroy(std::move(loaded_)); });
}

void Device::destroy(std::unique_ptr<Table> table)
{
	if (!table || !table->core)
		return;
	pc_destroy(table->core);
	world_.end_host(*table->host);
}

/* ---- Suspend and resume ----------------------------------------------- */

/* What was kept goes on. dm puts requeued bios back in no promised order. */
void Device::let_go()
{
	blocked_ = false;
	while (!requeued_.empty()) {
		const size_t chosen = world_.random(requeued_.size());
		post(requeued_[chosen]);
		requeued_.erase(requeued_.begin() + ptrdiff_t(chosen));
	}
	for (const Piece &piece : std::exchange(deferred_, {}))
		post(piece);
}

int Device::suspend_live(bool noflush, const std::function<bool()> &interrupted)
{
	ploop_core *const core = live_ ? live_->core : nullptr;

	noflush_ = noflush;
	if (core)
		pc_presuspend(core, noflush);
	/* Until it blocks them, requests still arrive. */
	for (uint64_t i = world_.order == Order::Random ? world_.random(4) : 0; i; i--)
		world_.yield();
	blocked_ = true;
	world_.run_until([&] {
		return (requests_.empty() && !messages_) || (interrupted && interrupted());
	});
	noflush_ = false;
	if (!requests_.empty() || messages_) {
		if (core)
			pc_presuspend_undo(core);
		let_go();
		return -EINTR;
	}
	if (core) {
		pc_postsuspend(core);
		world_.expect_still(*live_->host);
		expect(live_->host->quiet, "a suspended instance is not quiet");
	}
	suspended_ = true;
	return 0;
}

int Device::suspend(bool noflush, std::function<bool()> interrupted)
{
	int result = 0;
	expect(live_ && !removed_, "suspends nothing");
	world_.call(name_ + " suspend", [this, noflush, &interrupted, &result] {
		world_.run_until([this] { return !changing_; });
		if (suspended_)
			return;
		changing_ = true;
		result = suspend_live(noflush, interrupted);
		changing_ = false;
	});
	return result;
}

int Device::resume(bool noflush)
{
	int result = 0;
	world_.call(name_ + " resume", [this, noflush, &result] {
		std::unique_ptr<Table> old;
		world_.run_until([this] { return !changing_; });
		changing_ = true;
		if (loaded_) {
			if (!suspended_)
				suspend_live(noflush, {});
			/* dm waits until no one uses the old table, as a long message does. */
			world_.run_until([this] { return !messages_; });
			old = std::exchange(live_, std::move(loaded_));
		}
		expect(live_ != nullptr, "resumes nothing");
		if (suspended_) {
			result = live_->core ? pc_preresume(live_->core) : 0;
			expect(result <= 0, "pc_preresume gave " + std::to_string(result));
			if (!result) {
				if (live_->core)
					pc_resume(live_->core);
				suspended_ = false;
				let_go();
			}
		}
		destroy(std::move(old));
		changing_ = false;
	});
	return result;
}

void Device::remove()
{
	if (removed_)
		return;
	world_.call(name_ + " remove", [this] {
		world_.run_until([this] { return !changing_; });
		changing_ = true;
		blocked_ = true;
		removed_ = true;
		if (live_ && live_->core && !suspended_) {
			pc_presuspend(live_->core, false);
			suspended_ = true;
			pc_postsuspend(live_->core);
		}
		/* dm waits for no request here: the target has to. */
		expect(requests_.empty(), "a removed table has requests left");
		world_.run_until([this] { return !messages_ && !posted_; });
		destroy(std::move(live_));
		destroy(std::move(loaded_));
		for (const auto &pieces : { std::exchange(deferred_, {}),
					    std::deque<Piece>(requeued_.begin(), requeued_.end()) })
			for (const Piece &piece : pieces) {
				piece.bio->error = -EIO;
				put(piece.bio);
			}
		requeued_.clear();
		changing_ = false;
	});
}

/* ---- Messages and status ---------------------------------------------- */

/* Like libdm: asks again with more room if the reply did not fit. */
int Device::send(const std::vector<std::string> &words, std::string *reply)
{
	for (unsigned room = 64;; room *= 4) {
		Argv argv(words);
		std::vector<char> text(room);
		const int result = pc_message(live_->core, argv.count(), argv.pointers.data(),
					      text.data(), room);
		if (result != 1)
			return result;
		const size_t length = strnlen(text.data(), room);
		expect(length < room, "a reply without its end");
		if (length + 1 < room) {
			if (reply)
				*reply = text.data();
			return 1;
		}
	}
}

int Device::message(const std::string &words, std::string *reply)
{
	int result = -ENXIO;
	world_.call(name_ + " message " + words, [this, &words, reply, &result] {
		if (!live_ || !live_->core || removed_)
			return;
		messages_++;
		result = send(split(words), reply);
		messages_--;
	});
	return result;
}

std::string Device::status(ploop_status kind, size_t bytes)
{
	std::vector<char> text(bytes, 'x');
	expect(live_ && live_->core, "no live table");
	world_.call(name_ + " status",
		    [&] { pc_status(live_->core, kind, text.data(), text.size()); });
	expect(strnlen(text.data(), bytes) < bytes, "a status without its end");
	return text.data();
}

/* ---- Requests --------------------------------------------------------- */

void Device::put(const BioPtr &bio)
{
	if (--bio->pieces)
		return;
	bio->done = true;
	bio->ended_ms = world_.now_ms();
	if (bio->on_end)
		std::exchange(bio->on_end, nullptr)(*bio);
}

void Device::ended(const Piece &piece, Request &request)
{
	Bio &bio = *piece.bio;
	const bool preflush = piece.op == PLOOP_RQ_FLUSH && bio.op != PLOOP_RQ_FLUSH;
	int result = request.ended_with;

	requests_.erase(&request);
	if (request.requeued && noflush_) {
		requeued_.push_back(piece);
		delete &request;
		return;
	}
	if (request.requeued) {
		requeue_lost++;
		result = -EIO;
	}
	if (!result && piece.op == PLOOP_RQ_READ)
		std::copy(request.buffer.begin(), request.buffer.end(),
			  bio.data.begin() + ptrdiff_t((piece.sector - bio.sector) * SECTOR));
	delete &request;
	if (preflush)
		/* dm does not look at its error (kernel-facts F2). */
		post({ piece.bio, bio.op, bio.sector, bio.sectors });
	else if (result && !bio.error)
		bio.error = result;
	if (!preflush)
		put(piece.bio);
}

void Device::map_one(const Piece &piece)
{
	auto *const request = new Request;
	uint8_t flags = piece.bio->flags & (PLOOP_RQ_FUA | PLOOP_RQ_NOUNMAP);

	if (piece.op == PLOOP_RQ_FLUSH || piece.op == PLOOP_RQ_READ)
		flags = 0;
	if (piece.op <= PLOOP_RQ_WRITE && world_.chance(inline_chance))
		flags |= PLOOP_RQ_INLINE;
	request->prepare(live_->core, piece.op, piece.sector, piece.sectors, flags);
	if (piece.op == PLOOP_RQ_WRITE) {
		const auto from = piece.bio->data.begin() +
				  ptrdiff_t((piece.sector - piece.bio->sector) * SECTOR);
		request->buffer.assign(from, from + ptrdiff_t(piece.sectors * SECTOR));
	}
	request->on_end = [this, piece](Request &ended_one) { ended(piece, ended_one); };
	requests_.insert(request);
	if (live_->core)
		pc_map(live_->core, request);
	else
		ph_rq_end(request, -EIO);
}

/* Splits reads and writes as dm does; the others go as they are. */
void Device::map(Piece piece)
{
	const bool splits = piece.op == PLOOP_RQ_READ || piece.op == PLOOP_RQ_WRITE;
	piece.bio->pieces++;
	while (true) {
		/* The rest waits if the device was blocked meanwhile. */
		if (blocked_) {
			if (!removed_) {
				deferred_.push_back(piece);
				break;
			}
			piece.bio->error = -EIO;
			put(piece.bio);
			break;
		}
		Piece part = piece;
		if (splits && live_->core) {
			const uint32_t limit = pc_map_limit(live_->core, piece.sector);
			expect(limit, "pc_map_limit gave 0");
			part.sectors = std::min(piece.sectors, limit);
		}
		piece.sector += part.sectors;
		piece.sectors -= part.sectors;
		if (piece.sectors)
			piece.bio->pieces++;
		map_one(part);
		if (!piece.sectors)
			break;
	}
	put(piece.bio);
}

void Device::post(const Piece &piece)
{
	posted_++;
	world_.post(nullptr, name_ + " map", Context::Map, [this, piece] {
		posted_--;
		map(piece);
	});
}

BioPtr Device::submit(ploop_rq_op op, uint64_t sector, uint32_t sectors, uint8_t flags,
		      std::vector<uint8_t> data, std::function<void(Bio &)> on_end)
{
	auto bio = std::make_shared<Bio>();
	expect(live_ && sector + sectors <= live_->sectors, "beyond the end of the device");
	bio->op = op;
	bio->sector = sector;
	bio->sectors = sectors;
	bio->flags = flags;
	bio->data = std::move(data);
	bio->begun_ms = world_.now_ms();
	bio->on_end = std::move(on_end);
	bio->pieces = 1;
	if (op == PLOOP_RQ_READ)
		bio->data.assign(sectors * SECTOR, 0xCC);
	if (op == PLOOP_RQ_WRITE)
		expect(bio->data.size() == sectors * SECTOR, "a write with too little data");
	const bool preflush = flags & BIO_PREFLUSH && op == PLOOP_RQ_WRITE;
	const Piece piece = { bio, preflush ? PLOOP_RQ_FLUSH : op, preflush ? 0 : sector,
			      preflush ? 0 : sectors };
	/* A submitter is in process context; who ends a request leaves it to one. */
	if (world_.context() == Context::Task)
		world_.in_context(Context::Map, [&] { map(piece); });
	else
		post(piece);
	return bio;
}

int Device::wait(const BioPtr &bio)
{
	world_.run_until([&bio] { return bio->done; });
	return bio->error;
}

int Device::read(uint64_t sector, uint32_t sectors, std::vector<uint8_t> &data)
{
	const BioPtr bio = submit(PLOOP_RQ_READ, sector, sectors);
	const int result = wait(bio);
	data = bio->data;
	return result;
}

int Device::write(uint64_t sector, std::vector<uint8_t> data, uint8_t flags)
{
	const uint32_t sectors = uint32_t(data.size() / SECTOR);
	return wait(submit(PLOOP_RQ_WRITE, sector, sectors, flags, std::move(data)));
}

int Device::flush()
{
	return wait(submit(PLOOP_RQ_FLUSH, 0, 0));
}

} /* namespace sim */
