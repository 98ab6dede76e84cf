// The source of small.sass: nvcc 13.0 -O3 -fmad=false -lineinfo for sm_90, then nvdisasm -c -gi.
struct Doubled {
  static __device__ __forceinline__ float of(float x) { return x + x; }
};

// Out of line, and called where a value is negative.
__device__ __noinline__ float rescued(float x) { return logf(-x); }

// Four at once.
__device__ __forceinline__ float4 together(const float* x) {
  return *reinterpret_cast<const float4*>(x);
}

// One element at a time, with a stride.
__device__ __forceinline__ float4 scattered(const float* x, int stride) {
  float4 found;
  float* const to = &found.x;
  for (int i = 0; i < 4; ++i) to[i] = x[(i * stride) % 1000];
  return found;
}

// Four elements of a thread, and their largest.
__global__ void __launch_bounds__(256) small_kernel(float* x, float* largest, int stride) {
  x += 4 * threadIdx.x;
  float4 held;
  if (stride == 1) {
    held = together(x);
  } else {
    held = scattered(x, stride);
  }
  held.x = Doubled::of(held.x) * 3.0f;
  float most = fmaxf(fmaxf(held.x, held.y), fmaxf(held.z, held.w));
  for (int offset = 16; offset > 0; offset /= 2) {
    most = fmaxf(most, __shfl_xor_sync(0xffffffffu, most, offset));
  }
  if (most < 0.0f) most = rescued(most);
  *reinterpret_cast<float4*>(x) = held;
  if (threadIdx.x == 0) *largest = most;
}
