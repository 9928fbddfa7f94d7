/* SPDX-License-Identifier: MIT
 *
 * Inference of an integer network, plain C99: no heap, no floating point, no library but <stdint.h> and <string.h>.
 *
 * A network is the header that `nas export --format c` writes; it includes this file. One call classifies one image:
 *
 *     #include "network.h"
 *     static int8_t arena[NETWORK_ARENA_BYTES];
 *     int8_t logits[NETWORK_CLASSES];
 *     rt_run(&network, pixels, arena, logits);
 *     int label = rt_largest(logits, NETWORK_CLASSES);
 *
 * Tensors are int8 in the order height, width, channel. An integer q stands for scale * (q - zero). Sums are int32. The
 * results are those of the integer network in the TFLite file, bit for bit: multipliers are applied as TFLite's
 * reference kernels do. It is written to be read and compared, not for speed. A negative number that is shifted to the
 * right must keep its sign, as with every common compiler.
 */
#ifndef ROBUST_TINY_H
#define ROBUST_TINY_H

#include <stdint.h>
#include <string.h>

enum { RT_CONV, RT_DEPTHWISE, RT_SUM, RT_MEAN, RT_DENSE };

/* A tensor of one image, at `offset` of the arena; `zero` stands for 0. */
typedef struct {
    uint16_t height, width, channels;
    int8_t zero;
    uint32_t offset;
} rt_tensor;

/* A real number as a fraction of 31 bits times a power of two: fraction * 2^(shift - 31). */
typedef struct {
    int32_t fraction;
    int8_t shift;
} rt_multiplier;

/* Makes the tensor `output` of one tensor, or of two where it is a sum. */
typedef struct {
    uint8_t kind;
    uint16_t left, right, output;
    uint16_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w;
    const int8_t *weights;             /* conv: output, row, column, input; depthwise: row, column, channel */
    const int32_t *bias;               /* one for each output channel */
    const rt_multiplier *multipliers;  /* conv: one for each output channel; sum: left, right, both; else one */
    const int8_t *border;              /* what each input channel is padded with */
} rt_step;

typedef struct {
    const rt_tensor *tensors;
    const rt_step *steps;
    uint16_t steps_count;
} rt_network;

static inline int8_t rt_clip(int32_t value) {
    return (int8_t)(value < -128 ? -128 : value > 127 ? 127 : value);
}

/* High half of twice the product: to the nearest, half up. */
static inline int32_t rt_high(int32_t a, int32_t b) {
    int64_t product = (int64_t)a * b;
    int64_t nudge = product >= 0 ? (int64_t)1 << 30 : 1 - ((int64_t)1 << 30);
    return (int32_t)((product + nudge) / ((int64_t)1 << 31));
}

/* x / 2^bits: to the nearest, half away from zero. */
static inline int32_t rt_shifted(int32_t x, int bits) {
    int32_t mask = (int32_t)(((int64_t)1 << bits) - 1);
    int32_t threshold = (mask >> 1) + (x < 0);
    return (x >> bits) + ((x & mask) > threshold);
}

/* x times a multiplier, rounded twice. */
static inline int32_t rt_times(int32_t x, rt_multiplier by) {
    int left = by.shift > 0 ? by.shift : 0, right = by.shift > 0 ? 0 : -by.shift;
    return rt_shifted(rt_high(x * ((int32_t)1 << left), by.fraction), right);
}

/* x times a multiplier, rounded once, half up: what LiteRT's FULLY_CONNECTED does. */
static inline int32_t rt_times_once(int32_t x, rt_multiplier by) {
    int shift = 31 - by.shift;
    return (int32_t)(((int64_t)x * by.fraction + ((int64_t)1 << (shift - 1))) >> shift);
}

static void rt_conv(const rt_step *step, const rt_tensor *in, const rt_tensor *out, const int8_t *x, int8_t *y) {
    const int32_t inputs = in->channels, outputs = out->channels;
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++)
            for (int32_t channel = 0; channel < outputs; channel++) {
                const int8_t *weight = step->weights + channel * step->kernel_h * step->kernel_w * inputs;
                int32_t sum = 0;
                for (int32_t i = 0; i < step->kernel_h; i++)
                    for (int32_t j = 0; j < step->kernel_w; j++, weight += inputs) {
                        const int32_t h = row * step->stride_h - step->pad_h + i;
                        const int32_t w = column * step->stride_w - step->pad_w + j;
                        const int inside = h >= 0 && h < in->height && w >= 0 && w < in->width;
                        const int8_t *pixel = inside ? x + (h * in->width + w) * inputs : step->border;
                        for (int32_t k = 0; k < inputs; k++)
                            sum += weight[k] * (pixel[k] - in->zero);
                    }
                *y++ = rt_clip(rt_times(sum + step->bias[channel], step->multipliers[channel]) + out->zero);
            }
}

static void rt_depthwise(const rt_step *step, const rt_tensor *in, const rt_tensor *out, const int8_t *x, int8_t *y) {
    const int32_t channels = out->channels;
    for (int32_t row = 0; row < out->height; row++)
        for (int32_t column = 0; column < out->width; column++)
            for (int32_t channel = 0; channel < channels; channel++) {
                const int8_t *weight = step->weights + channel;
                int32_t sum = 0;
                for (int32_t i = 0; i < step->kernel_h; i++)
                    for (int32_t j = 0; j < step->kernel_w; j++, weight += channels) {
                        const int32_t h = row * step->stride_h - step->pad_h + i;
                        const int32_t w = column * step->stride_w - step->pad_w + j;
                        const int inside = h >= 0 && h < in->height && w >= 0 && w < in->width;
                        const int8_t *pixel = inside ? x + (h * in->width + w) * channels : step->border;
                        sum += *weight * (pixel[channel] - in->zero);
                    }
                *y++ = rt_clip(rt_times(sum + step->bias[channel], step->multipliers[channel]) + out->zero);
            }
}

static void rt_sum(const rt_step *step, const rt_tensor *left, const rt_tensor *right, const rt_tensor *out,
                   const int8_t *a, const int8_t *b, int8_t *y) {
    const int32_t count = (int32_t)out->height * out->width * out->channels;
    for (int32_t k = 0; k < count; k++) {
        const int32_t first = rt_times((a[k] - left->zero) * ((int32_t)1 << 20), step->multipliers[0]);
        const int32_t second = rt_times((b[k] - right->zero) * ((int32_t)1 << 20), step->multipliers[1]);
        y[k] = rt_clip(rt_times(first + second, step->multipliers[2]) + out->zero);
    }
}

static void rt_mean(const rt_step *step, const rt_tensor *in, const rt_tensor *out, const int8_t *x, int8_t *y) {
    const int32_t pixels = (int32_t)in->height * in->width, channels = in->channels;
    for (int32_t channel = 0; channel < channels; channel++) {
        int32_t sum = 0;
        for (int32_t k = 0; k < pixels; k++)
            sum += x[k * channels + channel] - in->zero;
        y[channel] = rt_clip(rt_times(sum, step->multipliers[0]) + out->zero);
    }
}

static void rt_dense(const rt_step *step, const rt_tensor *in, const rt_tensor *out, const int8_t *x, int8_t *y) {
    const int8_t *weight = step->weights;
    for (int32_t channel = 0; channel < out->channels; channel++, weight += in->channels) {
        int32_t sum = step->bias[channel];
        for (int32_t k = 0; k < in->channels; k++)
            sum += weight[k] * (x[k] - in->zero);
        y[channel] = rt_clip(rt_times_once(sum, step->multipliers[0]) + out->zero);
    }
}

/* Logits of an image, stored values 0 … 255 in the order height, width, channel. The arena is overwritten. */
static void rt_run(const rt_network *network, const uint8_t *pixels, int8_t *arena, int8_t *logits) {
    const rt_tensor *tensors = network->tensors, *last = tensors;
    const int32_t count = (int32_t)tensors->height * tensors->width * tensors->channels;
    for (int32_t k = 0; k < count; k++)
        (arena + tensors->offset)[k] = (int8_t)(pixels[k] - 128);
    for (uint16_t index = 0; index < network->steps_count; index++) {
        const rt_step *step = network->steps + index;
        const rt_tensor *left = tensors + step->left, *right = tensors + step->right, *out = tensors + step->output;
        const int8_t *x = arena + left->offset;
        int8_t *y = arena + out->offset;
        switch (step->kind) {
        case RT_CONV: rt_conv(step, left, out, x, y); break;
        case RT_DEPTHWISE: rt_depthwise(step, left, out, x, y); break;
        case RT_SUM: rt_sum(step, left, right, out, x, arena + right->offset, y); break;
        case RT_MEAN: rt_mean(step, left, out, x, y); break;
        case RT_DENSE: rt_dense(step, left, out, x, y); break;
        }
        last = out;
    }
    memcpy(logits, arena + last->offset, last->channels);
}

/* Index of the largest logit, the first one of several. */
static inline int rt_largest(const int8_t *logits, int count) {
    int found = 0;
    for (int k = 1; k < count; k++)
        if (logits[k] > logits[found])
            found = k;
    return found;
}

#endif
