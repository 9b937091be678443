/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A small stand-in for device-mapper: it calls the core through
 * include/ploop/target.h in the order that device-mapper does.
 */
#ifndef TESTS_SIM_DEVICE_H
#define TESTS_SIM_DEVICE_H

#include <set>

#include "sim/host.h"

namespace sim {

/* The module, loaded into a world. Declare it after the world. */
class Module {
public:
	explicit Module(World &world);
	~Module();
	/* Loads it anew, after a power cut. */
	void reboot();

private:
	World &world_;
	uint64_t boot_ = 0;
};

/* Beside PLOOP_RQ_*: a flush goes first, and its error is dropped, as dm does. */
constexpr uint8_t BIO_PREFLUSH = 0x80;

/* What is submitted to the device. It is split into requests like dm splits it. */
struct Bio {
	ploop_rq_op op = PLOOP_RQ_READ;
	uint64_t sector = 0;
	uint32_t sectors = 0;
	uint8_t flags = 0;
	std::vector<uint8_t> data;
	bool done = false;
	int error = 0;
	uint64_t begun_ms = 0;
	uint64_t ended_ms = 0;
	std::function<void(Bio &)> on_end;
	unsigned pieces = 0;
};
using BioPtr = std::shared_ptr<Bio>;

class Device {
public:
	explicit Device(World &world, std::string name = "dm-0");
	~Device();
	Device(const Device &) = delete;
	Device &operator=(const Device &) = delete;

	/* @line is what follows the word "ploop", or "error" for dm's own such target. */
	int create(const std::string &line, uint64_t sectors, bool read_only = false);
	int load(const std::string &line, uint64_t sectors, bool read_only = false);
	/* Drops a table that was loaded and not resumed. */
	void clear();
	/* -EINTR if @interrupted says so before all requests have ended. */
	int suspend(bool noflush = false, std::function<bool()> interrupted = {});
	/* Swaps in a loaded table; a live device is suspended for that, with @noflush. */
	int resume(bool noflush = false);
	void remove();
	/* Negative errno, 0, or 1 with a reply. */
	int message(const std::string &words, std::string *reply = nullptr);
	std::string status(ploop_status kind = PLOOP_STATUS_INFO, size_t bytes = 4096);

	BioPtr submit(ploop_rq_op op, uint64_t sector, uint32_t sectors, uint8_t flags = 0,
		      std::vector<uint8_t> data = {}, std::function<void(Bio &)> on_end = {});
	/* These wait. */
	int wait(const BioPtr &bio);
	int read(uint64_t sector, uint32_t sectors, std::vector<uint8_t> &data);
	int write(uint64_t sector, std::vector<uint8_t> data, uint8_t flags = 0);
	int flush();

	Host &host() const; /* of the live table */
	ploop_core *core() const { return live_ ? live_->core : nullptr; }
	bool suspended() const { return suspended_; }
	size_t in_flight() const { return requests_.size(); }
	size_t requeued() const { return requeued_.size(); }
	bool dead() const { return boot_ != world_.boot(); }

	std::string error;       /* the text of the last constructor's error */
	ploop_limits limits{};   /* of the last constructed table */
	uint64_t events = 0;     /* dm's event number */
	uint64_t requeue_lost = 0; /* requeued when dm does not take that: -EIO */
	double inline_chance;    /* that a request may be tried in the submitter's context */

private:
	struct Table {
		Host *host = nullptr;
		ploop_core *core = nullptr;
		uint64_t sectors = 0;
	};
	struct Piece {
		BioPtr bio;
		ploop_rq_op op;
		uint64_t sector;
		uint32_t sectors;
	};

	int construct(const std::vector<std::string> &words, const ploop_table &table);
	void destroy(std::unique_ptr<Table> table);
	int suspend_live(bool noflush, const std::function<bool()> &interrupted);
	void let_go();
	void post(const Piece &piece);
	void map(Piece piece);
	void map_one(const Piece &piece);
	void ended(const Piece &piece, Request &request);
	void put(const BioPtr &bio);
	int send(const std::vector<std::string> &words, std::string *reply);

	World &world_;
	std::string name_;
	uint64_t id_;
	uint64_t boot_;
	unsigned instances_ = 0;
	std::unique_ptr<Table> live_;
	std::unique_ptr<Table> loaded_;
	bool suspended_ = true;
	bool blocked_ = true;   /* what arrives is kept until the resume */
	bool noflush_ = false;  /* what is requeued is kept until the resume */
	bool removed_ = false;
	bool changing_ = false; /* a suspend, resume or removal is under way */
	unsigned messages_ = 0;
	unsigned posted_ = 0;   /* pieces on their way to map() */
	std::set<Request *> requests_;
	std::deque<Piece> deferred_;
	std::vector<Piece> requeued_;
};

} /* namespace sim */

#endif
