// SPDX-License-Identifier: GPL-2.0
// Memory from the host, owned by exactly one holder.
#pragma once

#include <new>
#include <type_traits>
#include <utility>

#include "base/types.h"
#include "ploop/host.h"

namespace ploop {

// What ph_alloc() promises for so many bytes.
constexpr size_t alignment_of_alloc(size_t bytes)
{
	return bytes >= 4096 ? 64 : alignof(uint64_t);
}

// Owns one object, or nothing.
template <class Type>
class Owned {
public:
	Owned() = default;
	explicit Owned(Type *object) : object_(object) {}
	Owned(const Owned &) = delete;
	Owned &operator=(const Owned &) = delete;
	Owned(Owned &&other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
	~Owned() { destroy(); }

	Type *get() const { return object_; }
	Type *operator->() const { return object_; }
	Type &operator*() const { return *object_; }
	explicit operator bool() const { return object_ != nullptr; }
	Type *give_away() { return std::exchange(object_, nullptr); }

private:
	void destroy()
	{
		if (object_ == nullptr)
			return;
		object_->~Type();
		ph_free(object_);
	}

	Type *object_ = nullptr;
};

// A new object, or nothing when there is no memory. Process context.
template <class Type, class... Arguments>
Owned<Type> make_owned(Arguments &&...arguments)
{
	static_assert(sizeof(Type) <= PLOOP_ALLOC_MAX);
	static_assert(alignof(Type) <= alignment_of_alloc(sizeof(Type)));
	void *memory = ph_alloc(sizeof(Type));
	if (memory == nullptr)
		return Owned<Type>();
	return Owned<Type>(new (memory) Type(std::forward<Arguments>(arguments)...));
}

// Plain memory, given back at the end.
class Buffer {
public:
	explicit Buffer(size_t bytes) : memory_(ph_alloc(bytes)) {}
	Buffer(const Buffer &) = delete;
	Buffer &operator=(const Buffer &) = delete;
	~Buffer() { ph_free(memory_); }
	void *get() const { return memory_; }

private:
	void *memory_;
};

// A long array of plain words, in pieces of at most 64 KiB, so that no large
// piece of contiguous memory is ever asked for. Starts out as zeros.
template <class Word>
class ChunkedArray {
	static_assert(std::is_trivially_destructible_v<Word>);
	static constexpr size_t kPerChunk = PLOOP_ALLOC_MAX / sizeof(Word);
	static constexpr size_t kChunks = PLOOP_ALLOC_MAX / sizeof(Word *);

public:
	// The longest array there can be, in words.
	static constexpr size_t kLongest = kPerChunk * kChunks;

	ChunkedArray() = default;
	ChunkedArray(const ChunkedArray &) = delete;
	ChunkedArray &operator=(const ChunkedArray &) = delete;
	~ChunkedArray()
	{
		for (size_t i = 0; chunks_ != nullptr && i < ceil_div(length_, kPerChunk); i++)
			ph_free(chunks_[i]);
		ph_free(chunks_);
	}

	// Once, with at least one word. Process context.
	Status allocate(size_t length)
	{
		if (length > kLongest)
			return Status::error(kEFBIG);
		const size_t count = ceil_div(length, kPerChunk);
		chunks_ = static_cast<Word **>(ph_alloc(count * sizeof(Word *)));
		if (chunks_ == nullptr)
			return Status::error(kENOMEM);
		length_ = length;
		for (size_t i = 0; i < count; i++) {
			const size_t words = min_of(kPerChunk, length - i * kPerChunk);
			chunks_[i] = static_cast<Word *>(ph_alloc(words * sizeof(Word)));
			if (chunks_[i] == nullptr)
				return Status::error(kENOMEM);
			ph_yield();
		}
		return {};
	}

	void swap(ChunkedArray &other)
	{
		std::swap(chunks_, other.chunks_);
		std::swap(length_, other.length_);
	}

	size_t length() const { return length_; }
	Word &operator[](size_t i) { return chunks_[i / kPerChunk][i % kPerChunk]; }
	const Word &operator[](size_t i) const { return chunks_[i / kPerChunk][i % kPerChunk]; }

private:
	Word **chunks_ = nullptr;
	size_t length_ = 0;
};

} // namespace ploop
