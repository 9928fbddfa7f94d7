/* SPDX-License-Identifier: MIT
 *
 * Inference of an integer network with weights of less than 8 bits, several a byte, and tensors of less than 8 bits.
 *
 * A network is the header that `nas export --format c` writes; it includes this file, which includes robust_tiny.h:
 *
 *     #include "network.h"
 *     static int8_t arena[NETWORK_ARENA_BYTES];
 *     int8_t logits[NETWORK_CLASSES];
 *     rt_run_packed(&network, pixels, arena, logits);
 *     int label = rt_largest(logits, NETWORK_CLASSES);
 *
 * Weights are unpacked one by one in the innermost loop, so no copy of them is made. Tensors are int8; those of fewer
 * bits use some of its values only. The results are those of the integer network, bit for bit.
 */
#ifndef ROBUST_TINY_PACKED_H
#define ROBUST_TINY_PACKED_H

#include "robust_tiny.h"

/* Weights of a step, `unit` times their levels. A level is a code of `bits` bits in two's complement or, where `odd`,
 * 2 * code - (2^bits - 1). Code i takes the bits from i * bits on, the lowest of a byte first; depthwise or not, in the
 * order output, row, column, input. Without `codes`, the step's own weights are taken. The mean of a tensor has no
 * weights, but a `unit`, which its sums are multiplied by. */
typedef struct {
    const uint8_t *codes;
    uint8_t bits, odd;
    uint16_t unit;
} rt_packed;

/* Smallest and largest value of a tensor. */
typedef struct {
    int8_t low, high;
} rt_limits;

typedef struct {
    rt_network network;
    const rt_packed *packed;  /* one for each step */
    const rt_limits *limits;  /* one for each tensor */
} rt_packed_network;

/* Level of weight `index`. */
static inline int32_t rt_level(const rt_packed *packed, uint32_t index) {
    const uint32_t bits = packed->bits, at = index * bits, shift = at & 7u, half = 1u << (bits - 1u);
    const uint8_t *byte = packed->codes + (at >> 3);
    uint32_t code = (uint32_t)byte[0] >> shift;
    if (shift + bits > 8u)
        code |= (uint32_t)byte[1] << (8u - shift);
    code &= 2u * half - 1u;
    return packed->odd ? 2 * (int32_t)code - (int32_t)(2u * half - 1u) : (int32_t)(code ^ half) - (int32_t)half;
}

static void rt_conv_packed(const rt_step *step, const rt_packed *packed, const rt_tensor *in, const rt_tensor *out,
                           const int8_t *x, int8_t *y) {
    const int32_t channels = in->channels, inputs = step->kind == RT_DEPTHWISE ? 1 : channels;
    const uint32_t size = (uint32_t)(step->kernel_h * step->kernel_w * inputs);
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++)
            for (int32_t channel = 0; channel < out->channels; channel++) {
                uint32_t index = (uint32_t)channel * size;
                int32_t sum = 0;
                for (int32_t i = 0; i < step->kernel_h; i++)
                    for (int32_t j = 0; j < step->kernel_w; j++) {
                        const int32_t h = row * step->stride_h - step->pad_h + i;
                        const int32_t w = column * step->stride_w - step->pad_w + j;
                        const int inside = h >= 0 && h < in->height && w >= 0 && w < in->width;
                        const int8_t *pixel = inside ? x + (h * in->width + w) * channels : step->border;
                        pixel += step->kind == RT_DEPTHWISE ? channel : 0;
                        for (int32_t k = 0; k < inputs; k++)
                            sum += rt_level(packed, index++) * (pixel[k] - in->zero);
                    }
                sum = sum * packed->unit + step->bias[channel];
                *y++ = rt_clip(rt_times(sum, step->multipliers[channel]) + out->zero);
            }
}

static void rt_mean_packed(const rt_step *step, const rt_packed *packed, const rt_tensor *in, const rt_tensor *out,
                           const int8_t *x, int8_t *y) {
    const int32_t pixels = (int32_t)in->height * in->width, channels = in->channels;
    for (int32_t channel = 0; channel < channels; channel++) {
        int32_t sum = 0;
        for (int32_t k = 0; k < pixels; k++)
            sum += x[k * channels + channel] - in->zero;
        y[channel] = rt_clip(rt_times(sum * packed->unit, step->multipliers[0]) + out->zero);
    }
}

/* Clips the tensor `y` to its limits. */
static void rt_limit(const rt_tensor *tensor, rt_limits limits, int8_t *y) {
    const int32_t count = (int32_t)tensor->height * tensor->width * tensor->channels;
    for (int32_t k = 0; k < count; k++)
        y[k] = y[k] < limits.low ? limits.low : y[k] > limits.high ? limits.high : y[k];
}

/* Logits of an image, stored values 0 … 255 in the order height, width, channel. The arena is overwritten. */
static void rt_run_packed(const rt_packed_network *network, const uint8_t *pixels, int8_t *arena, int8_t *logits) {
    const rt_tensor *tensors = network->network.tensors, *last = tensors;
    const int32_t count = (int32_t)tensors->height * tensors->width * tensors->channels;
    (void)rt_run; /* that of networks without packed weights */
    for (int32_t k = 0; k < count; k++)
        (arena + tensors->offset)[k] = (int8_t)(pixels[k] - 128);
    for (uint16_t index = 0; index < network->network.steps_count; index++) {
        const rt_step *step = network->network.steps + index;
        const rt_packed *packed = network->packed + index;
        const rt_tensor *left = tensors + step->left, *right = tensors + step->right, *out = tensors + step->output;
        const int8_t *x = arena + left->offset;
        int8_t *y = arena + out->offset;
        if (packed->codes)
            rt_conv_packed(step, packed, left, out, x, y);
        else
            switch (step->kind) {
            case RT_CONV: rt_conv(step, left, out, x, y); break;
            case RT_DEPTHWISE: rt_depthwise(step, left, out, x, y); break;
            case RT_SUM: rt_sum(step, left, right, out, x, arena + right->offset, y); break;
            case RT_MEAN: rt_mean_packed(step, packed, left, out, x, y); break;
            case RT_DENSE: rt_dense(step, left, out, x, y); break;
            }
        rt_limit(out, network->limits[step->output], y);
        last = out;
    }
    memcpy(logits, arena + last->offset, last->channels);
}

#endif
