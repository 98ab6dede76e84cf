// The random words of many blocks at once.
#pragma once

#include "../../math/philox.h"

namespace clever::cpu {

constexpr int kTile = 256;  // blocks whose words are held at a time

// Word i of block first + j, for each j below kTile.
struct Words {
  alignas(64) uint32_t w[4][kTile];
};

// Draws the words of at least the first `count` blocks, by the widest registers of this machine.
void draw_words(const Stream& stream, uint32_t first, int count, uint32_t domain, Words& words);

}  // namespace clever::cpu
