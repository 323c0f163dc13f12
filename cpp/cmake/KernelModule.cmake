# How a compiled module of the package is built.

add_library(bptt_warnings INTERFACE)
target_compile_options(
  bptt_warnings INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
                          -Wno-ignored-attributes
                          $<$<BOOL:${BPTT_WERROR}>:-Werror>)

# bptt_add_module(<name> <source>...)
#
# NO_EXTRAS: no link-time optimization, which could carry instructions from one instruction set
# into another.
function(bptt_add_module name)
  pybind11_add_module(${name} MODULE NO_EXTRAS ${ARGN})
  target_compile_features(${name} PRIVATE cxx_std_20)
  set_target_properties(
    ${name}
    PROPERTIES CXX_EXTENSIONS OFF
               CXX_VISIBILITY_PRESET hidden
               VISIBILITY_INLINES_HIDDEN ON)
  target_link_libraries(${name} PRIVATE bptt_warnings)
  install(TARGETS ${name} LIBRARY DESTINATION ${SKBUILD_PROJECT_NAME}/_core)
endfunction()

# bptt_add_kernel_module(<isa> <flag>...)
#
# Builds _kernels_<isa>. Each instruction set needs a module of its own: Eigen's inline functions
# have one name for all of them, and within one module the linker would keep one at random.
function(bptt_add_kernel_module isa)
  set(module _kernels_${isa})
  bptt_add_module(${module} ${BPTT_CORE_SOURCES} ${BPTT_BINDING_SOURCES})
  target_include_directories(${module} PRIVATE "${PROJECT_SOURCE_DIR}/cpp")
  target_compile_definitions(
    ${module} PRIVATE BPTT_MODULE_NAME=${module} BPTT_ISA="${isa}")
  # Neither errno nor the floating point exception flags are read; results stay IEEE.
  target_compile_options(${module} PRIVATE -fno-math-errno -fno-trapping-math ${ARGN})
  # One file for the small bindings: compiling pybind11 itself takes longer than all of them.
  set_target_properties(${module} PROPERTIES UNITY_BUILD ON UNITY_BUILD_MODE GROUP)
  target_link_libraries(${module} PRIVATE bptt_eigen bptt_openmp Threads::Threads)
endfunction()
